"""Prints the licences of all crates in the program, which must accompany its binaries: packaging/licences.py TARGET

Equal texts are printed once, after the names of their crates. A crate without a file of its licence is listed with the
identifier of the licence and its authors. Needs Cargo, and only Python's standard library.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PROGRAM = "densecl-cli"
# Also deeper in a crate: the C sources of mimalloc and the typeface of the curves have licences of their own.
LICENCE_FILE = re.compile(r"((un)?licen[cs]e|copying|notice|copyright|[ou]fl)[^.]*(\.(md|txt))?$", re.IGNORECASE)


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def crates_of(program: str, target: str) -> list[dict]:
    """The crates that the program is linked with, by name. Crates of its build and of tests are not part of it.

    `cargo tree` names them, because `cargo metadata`, which knows their folders, lists those of all features.
    """
    tree = ["tree", "--package", program, "--edges", "normal,no-proc-macro", "--target", target]
    lines = cargo(*tree, "--prefix", "none", "--format", "{p}").splitlines()
    linked = {tuple(line.split()[:2]) for line in lines if line}
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    # Those of the workspace have no source, and the licence of the program itself.
    found = [p for p in packages if p["source"] and (p["name"], f"v{p['version']}") in linked]
    return sorted(found, key=lambda crate: (crate["name"], crate["version"]))


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("give the target of the program, such as x86_64-unknown-linux-gnu")
    texts: dict[str, list[str]] = defaultdict(list)
    without: list[str] = []
    for crate in crates_of(PROGRAM, sys.argv[1]):
        name = f"{crate['name']} {crate['version']}"
        folder = Path(crate["manifest_path"]).parent
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and LICENCE_FILE.match(file.name)]
        if not files:
            without.append(f"{name}: {crate['license']}, {', '.join(crate['authors']) or 'no authors named'}")
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()
            texts[text].append(name)
    print("The program densecl contains these crates. Of several licences of a crate, any one may be chosen where its\n"
          "Cargo.toml says OR.\n")
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        print(f"{'=' * 100}\n{', '.join(dict.fromkeys(names))}\n{'-' * 100}\n{text}\n")
    print(f"{'=' * 100}\nWithout a file of the licence:\n" + "\n".join(without))


if __name__ == "__main__":
    main()
