#!/usr/bin/env python3
"""Compares training methods: accuracy over seeds, robustness, pace, and memory of a step. Writes the figures of
docs/methods.md.

    python3 bench/methods.py scenes  PROGRAM OUT [--seeds 5] [--only byol,densecl]
    python3 bench/methods.py photos  PROGRAM OUT --data FOLDER
    python3 bench/methods.py robust  PROGRAM OUT [--seeds 3] [--steps 1200] [--data FOLDER]
    python3 bench/methods.py intel   PICTURES OUT       # the folders of a real set for `robust`, from its manifest
    python3 bench/methods.py pace    PROGRAM OUT        # short runs in turn: seconds per step
    python3 bench/methods.py memory  PROGRAM OUT        # the program's estimate, and the peak of the process
    python3 bench/methods.py table   OUT                # what has been measured so far

PROGRAM is the `densecl` binary. Each run is a folder OUT/KIND/NAME-SEED; a run that has its result is not repeated, so
a stopped comparison can be started again. Needs only Python.

`robust` trains 3SAT and BYOL on objects of scenes, or on FOLDER/train, with equal steps; then BYOL again for as many
steps as take the time of 3SAT's; and attacks classifiers on all of them (`densecl eval robust`). FOLDER holds
train/CLASS/* and val/CLASS/*. `intel` copies such folders for the Intel scenes (six classes) of PICTURES, the
pre-training pictures beside the project, whose manifest.csv has their classes: every fourth picture of a class is for
validation.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

MOCO = "--set method.matching=backbone --set method.in_view_weight=0 --set method.lambda=0"
STEPS = 400  # a third of the quick start
SCENES = {
    "densecl": f"--config quickstart --set train.steps={STEPS}",
    "mocov2": f"--config quickstart --set train.steps={STEPS} {MOCO}",
    "byol": f"--config byol_scenes --set train.steps={STEPS}",
    # A step of BYOL takes 1.5 times as long as DenseCL's, and one of UniVIP 1.9 times as long as BYOL's (`pace`).
    "byol in equal time": f"--config byol_scenes --set train.steps={STEPS * 2 // 3}",
    "univip": f"--config univip_scenes --set train.steps={STEPS}",
    "univip in equal time": f"--config univip_scenes --set train.steps={STEPS // 2}",
    "univip with true boxes": f"--config univip_scenes --set train.steps={STEPS} --set data.boxes=objects",
    "densecl with curriculum": f"--config quickstart --set train.steps={STEPS} --set views.curriculum.region=0.25",
}
# Half of the preset's channels and of its batch: eight times as fast.
PHOTOS = "--config photos_r18 --set train.steps=300 --set train.batch_size=16 --set model.width=32"
BYOL = (
    f"{PHOTOS} --set method.matching=backbone --set method.in_view_weight=0 --set method.in_view_temperature=0.2 "
    "--set method.name=byol --set method.bn_groups=1 --set method.momentum=0.99 --set method.momentum_schedule=cosine "
    "--set method.projector_hidden=1024 --set method.projector_dim=128 --set views.saturation=0.2 "
    "--set views.blur_p=1 --set views.second.blur_p=0.1 --set views.second.solarize_p=0.2 --set optim.warmup_epochs=0.1"
)
PHOTO_RUNS = {
    "densecl": PHOTOS,
    "mocov2": f"{PHOTOS} {MOCO}",
    "byol": BYOL,
    # The photographs have a shorter side of about 160 px: smaller boxes than the paper's.
    "univip": f"{BYOL} --set method.name=univip --set method.instance_size=64 --set views.instances.min_side=32",
}
# 3SAT's own settings are at their defaults there, so BYOL takes the preset too: the same network, pictures and rate.
ROBUST = {"3sat": "--config 3sat_scenes", "byol": "--config 3sat_scenes --set method.name=byol"}
EQUAL_TIME = "byol in equal time"
QUIET = "--device cpu --overwrite --set log.tensorboard=false --set checkpoint.every_steps=0".split()
FIGURES = ("before", "mirrored_before", "after", "mirrored_after")


def train(program, out, line):
    """Trains unless the result is there; returns it."""
    result = out / "result.json"
    if not result.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        log = out.with_name(out.name + ".log")
        with log.open("w") as errors:
            process = subprocess.Popen([program, "pretrain", "--out", out, *QUIET, *line.split()], stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{out.name}: {log.read_text()}")
        used = {"peak_bytes": usage.ru_maxrss * 1024, "processor_seconds": usage.ru_utime + usage.ru_stime}
        (out / "usage.json").write_text(json.dumps(used))
    return json.loads(result.read_text())


def used(out, what):
    """What the process of a run has used: `peak_bytes` of resident memory, `processor_seconds`."""
    return json.loads((out / "usage.json").read_text())[what]


def compare(kind, runs, args):
    chosen = args.only.split(",") if args.only else list(runs)
    # Seeds outside, so that what is there when it is stopped is a comparison.
    for seed in range(args.seeds):
        for name in chosen:
            result = train(args.program, args.out / kind / f"{name}-{seed}", f"--seed {seed} {runs[name]}")
            accuracy = " ".join(f"{100 * result[f'correspondence_accuracy_{key}']:.1f}" for key in FIGURES)
            print(f"{kind} {name} seed {seed}: {accuracy}, {result['seconds']:.0f} s", flush=True)


def robust(args):
    """Trains with each seed, then attacks: the table of `densecl eval robust`; its JSON and picture are kept."""
    kind, data = "robust", "scenes"
    common = "--set eval.pairs=0 --set log.every_steps=20"
    if args.data:
        kind, data = f"robust-{Path(args.data).name}", str(Path(args.data).absolute())
        common += f" --data {data}/train --set data.cut_objects=0"
    if args.small:
        common += " --set data.scene_count=64 --set model.width=4"
    runs = {name: f"{line} {common}" for name, line in ROBUST.items()}
    folder = args.out / kind
    for seed in range(args.seeds):
        seconds = {}
        for name, line in runs.items():
            line = f"--seed {seed} {line} --set train.steps={args.steps}"
            out = folder / f"{name}-{seed}"
            train(args.program, out, line)
            # Of the processor and not of the clock, so that other work on the machine does not change the ratio.
            seconds[name] = used(out, "processor_seconds")
            print(f"{kind} {name} seed {seed}: {args.steps} steps, {seconds[name]:.0f} s of a processor", flush=True)
        steps = round(args.steps * seconds["3sat"] / seconds["byol"])
        line = f"--seed {seed} {runs['byol']} --set train.steps={steps}"
        out = folder / f"{EQUAL_TIME}-{seed}"
        train(args.program, out, line)
        spent = used(out, "processor_seconds")
        print(f"{kind} {EQUAL_TIME} seed {seed}: {steps} steps, {spent:.0f} s of a processor", flush=True)
    weights = [f"{name}={folder}/{name}-{{seed}}/weights.safetensors" for name in (*runs, EQUAL_TIME)]
    command = [args.program, "eval", "robust", "--data", data, "--seeds", str(args.seeds), "--device", "cpu"]
    command += ["--json", folder / "robust.json", "--out", folder / "robust.png"]
    command += [part for one in weights for part in ("--weights", one)]
    if args.small:
        command += "--limit 40 --attack-steps 2 --epochs 5 --fine-tune-epochs 1".split()
    subprocess.run(command, check=True)


def intel(args):
    """Copies the Intel scenes into train/CLASS and val/CLASS."""
    pictures, seen = args.program, {}
    with (pictures / "manifest.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            if not row["file"].startswith("extra/intel/"):
                continue
            name = row["repo_path"].split("/")[1]
            number = seen[name] = seen.get(name, 0) + 1
            folder = args.out / ("val" if number % 4 == 0 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(pictures / row["file"], folder)
    print(f"{args.out}: {seen}")


def pace(args):
    """Runs of 40 steps in turn, five rounds; the pace of a run is that of its steps 21 to 40."""
    runs = {name: SCENES[name] for name in ("densecl", "mocov2", "byol", "univip")}
    seconds = {name: [] for name in runs}
    for round_ in range(5):
        for name, line in runs.items():
            out = args.out / "pace" / f"{name}-{round_}"
            line += " --set train.steps=40 --set eval.pairs=0 --set log.every_steps=20 --set data.scene_count=512"
            train(args.program, out, line)
            rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
            seconds[name].append((rows[-1]["seconds"] - rows[-2]["seconds"]) / 20)
    ratios = {name: [t / d for t, d in zip(seconds[name], seconds["densecl"])] for name in runs}
    for name, times in seconds.items():
        print(
            f"pace {name}: {1000 * statistics.median(times):.0f} ms a step (median of 5), "
            f"{statistics.median(ratios[name]):.2f} times densecl's ({min(ratios[name]):.2f} to {max(ratios[name]):.2f})"
        )


def memory(args):
    for kind, runs in (("scenes", SCENES), ("photos", PHOTO_RUNS)):
        for name in ("densecl", "mocov2", "byol", "univip"):
            # The memory of a step does not depend on the pictures. Of the scenes there are few and small ones, because
            # they are held in memory too.
            line = f"{runs[name]} --set train.steps=2 --set eval.pairs=0 --set optim.warmup_epochs=0 "
            line += "--set data.source=scenes --set data.scene_count=512 --set scenes.size=64"
            line += " --set data.boxes=random" if name == "univip" else ""
            out = args.out / "memory" / f"{kind}-{name}"
            train(args.program, out, line)
            log = out.with_name(out.name + ".log").read_text()
            estimate = log.split("a step needs about ")[1].split(" of memory")[0]
            print(f"memory {kind} {name}: estimate {estimate}, peak {used(out, 'peak_bytes') / 1e6:.0f} MB")


def table(args):
    for kind in ("scenes", "photos"):
        folder = args.out / kind
        results = sorted(folder.glob("*/result.json")) if folder.exists() else []
        found = {}
        for path in results:
            name, seed = path.parent.name.rsplit("-", 1)
            found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
        for name, seeds in found.items():
            percent = {
                key: [100 * seeds[s][f"correspondence_accuracy_{key}"] for s in sorted(seeds)] for key in FIGURES
            }
            cells = [f"{a:.1f} / {b:.1f}" for a, b in zip(percent["after"], percent["mirrored_after"])]
            means = " / ".join(f"{statistics.mean(percent[key]):.1f}" for key in ("after", "mirrored_after"))
            before = " / ".join(f"{statistics.mean(percent[key]):.1f}" for key in ("before", "mirrored_before"))
            print(f"| {kind} | {name} | {' | '.join(cells)} | {means} | untrained {before} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scenes", "photos", "robust", "intel", "pace", "memory", "table"])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PROGRAM OUT")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--only", help="names of runs, with commas")
    parser.add_argument("--data", help="a folder of photographs; for `robust` one with train/CLASS and val/CLASS")
    parser.add_argument("--steps", type=int, default=1200, help="of each run of `robust`")
    parser.add_argument("--small", action="store_true", help="`robust`: a tiny network, to try the command")
    args = parser.parse_args()
    args.out = args.paths[-1].absolute()
    args.program = args.paths[0].absolute()
    if args.what == "scenes":
        args.seeds = args.seeds or 5
        compare("scenes", SCENES, args)
    elif args.what == "photos":
        args.seeds = args.seeds or 1
        compare("photos", {name: f"{line} --data {args.data}" for name, line in PHOTO_RUNS.items()}, args)
    elif args.what == "robust":
        args.seeds = args.seeds or 3
        robust(args)
    else:
        {"intel": intel, "pace": pace, "memory": memory, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
