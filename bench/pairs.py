#!/usr/bin/env python3
"""The 25 surest matches of pairs of photographs, for several networks, as numbered points for a person to judge.

    git clone https://github.com/MachineLearning2020/Homework2-Caltech101 caltech
    pip install pillow
    python bench/pairs.py --pictures caltech/101_ObjectCategories --densecl target/release/densecl --out pairs \\
        --weights untrained=random:resnet18 --weights trained=photos

Caltech-101 (Fei-Fei, Fergus and Perona 2004; CC BY 4.0). The pairs were chosen by a rule before anybody had seen them:
of the categories in alphabetical order, without BACKGROUND_Google and Faces_easy, every tenth; of each the first and
the last photograph that the included weights were not trained on.

For each pair and network, OUT/CATEGORY-NAME.png shows both photographs; equal numbers are a match, 1 is the surest.
OUT/counts.csv lists them with an empty column `right` for the judge.
"""

import argparse
import csv
import json
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAIRS = [
    ("Faces", "image_0002", "image_0435"),
    ("binocular", "image_0001", "image_0033"),
    ("cellphone", "image_0001", "image_0059"),
    ("dalmatian", "image_0001", "image_0067"),
    ("flamingo", "image_0001", "image_0067"),
    ("ibis", "image_0001", "image_0080"),
    ("mandolin", "image_0001", "image_0043"),
    ("pigeon", "image_0001", "image_0045"),
    ("scorpion", "image_0001", "image_0084"),
    ("tick", "image_0001", "image_0049"),
]
SUREST = 25
SIDE = 640
GAP = 12


def matches(densecl, weights, a, b):
    """The surest matches, the surest first."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "matches.json")
        command = [densecl, "match", a, b, "--weights", weights, "--stride", "16", "--threshold", "0"]
        command += ["--out", Path(folder, "matches.png"), "--json", result]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(result.read_text())["matches"]
    return sorted(found, key=lambda match: -match["score"])[:SUREST]


def sheet(a, b, found):
    """Both pictures side by side, enlarged, with numbered points."""
    pictures = [Image.open(path).convert("RGB") for path in (a, b)]
    scales = [SIDE / max(picture.size) for picture in pictures]
    pictures = [
        picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)
        for picture, scale in zip(pictures, scales)
    ]
    whole = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(15)
    for key, left, picture, scale in zip("ab", (0, SIDE + GAP), pictures, scales):
        whole.paste(picture, (left, 0))
        for number, match in enumerate(found, 1):
            x, y = (left + match[key][0] * scale, match[key][1] * scale)
            draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill="white", outline="black")
            draw.text((x, y), str(number), fill="black", font=font, anchor="mm")
    return whole


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, required=True, help="the folder of categories")
    parser.add_argument("--densecl", type=Path, required=True, help="the program")
    parser.add_argument("--weights", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    networks = [weights.split("=", 1) for weights in options.weights]
    if any(len(network) != 2 for network in networks):
        parser.error("--weights needs NAME=FILE")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [["category", "weights", "matches", "right"]]
    for category, first, last in PAIRS:
        a, b = (options.pictures / category / f"{name}.jpg" for name in (first, last))
        for name, file in networks:
            found = matches(options.densecl, file, a, b)
            sheet(a, b, found).save(options.out / f"{category}-{name}.png")
            rows.append([category, name, len(found), ""])
            print(f"{category}, {name}: {len(found)} matches")
    with open(options.out / "counts.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
