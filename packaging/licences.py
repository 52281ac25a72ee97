"""Prints the licences of all crates in the program, which must accompany its binaries:

    cargo metadata --format-version 1 --locked --filter-platform TARGET | python3 packaging/licences.py

Equal texts are printed once, after the names of their crates. A crate without a file of its licence is listed with the
identifier of the licence and its authors. Needs only Python's standard library.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

PROGRAM = "densecl-cli"
# Also deeper in a crate: the C sources of mimalloc and the typeface of the curves have licences of their own.
LICENCE_FILE = re.compile(r"((un)?licen[cs]e|copying|notice|copyright|[ou]fl)[^.]*(\.(md|txt))?$", re.IGNORECASE)


def crates_of(program: str, metadata: dict) -> list[dict]:
    """The crates that the program is linked with, by name. Crates of its build and of tests are not part of it."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [package["id"] for package in packages.values() if package["name"] == program]
    if not waiting:
        raise SystemExit(f"the metadata has no package {program}")
    reached = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if linked and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    crates = [packages[number] for number in reached]
    # Those of the workspace have no source, and the licence of the program itself.
    return sorted((crate for crate in crates if crate["source"]), key=lambda crate: (crate["name"], crate["version"]))


def main() -> None:
    texts: dict[str, list[str]] = defaultdict(list)
    without: list[str] = []
    for crate in crates_of(PROGRAM, json.load(sys.stdin)):
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
