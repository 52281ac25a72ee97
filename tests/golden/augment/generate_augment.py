"""Golden data of the augmentations: results of torchvision on PIL for small pictures.

    pip install torch==2.5.1 torchvision==0.20.1 pillow
    python generate_augment.py

Writes `cases.json` (parameters) and one PNG per source and case beside this script. The pictures are
computed, not photographed, and have the same bytes in every run.
"""

import json
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from torchvision import transforms
from torchvision.transforms import functional as F

HERE = Path(__file__).parent


def scene(width, height, seed):
    """Smooth colour fields, hard edges, saturated and grey discs, a noisy patch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    picture = np.stack(
        [
            127 + 120 * np.sin(x / 17 + 0.3) * np.cos(y / 23),
            127 + 120 * np.sin(y / 13 + 1.1),
            127 + 120 * np.cos((x + y) / 29),
        ],
        axis=-1,
    )
    for _ in range(14):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < rng.uniform(3, 15) ** 2
        color = rng.integers(0, 256, 3) if rng.random() < 0.8 else np.full(3, rng.integers(0, 256))
        picture[inside] = color
    patch = (slice(height // 2, height // 2 + 16), slice(4, 24))
    picture[patch] = rng.integers(0, 256, picture[patch].shape)
    return Image.fromarray(np.clip(np.round(picture), 0, 255).astype(np.uint8))


def palette():
    """All combinations of 16 levels per channel, 64 x 64 pixels."""
    i = np.arange(4096)
    rgb = np.stack([i >> 8, (i >> 4) & 15, i & 15], axis=-1) * 17
    return Image.fromarray(rgb.reshape(64, 64, 3).astype(np.uint8))


SOURCES = {"scene": scene(97, 73, 1), "palette": palette(), "tall": scene(48, 80, 2)}

COLOR = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def grayscale(image):
    return F.rgb_to_grayscale(image, num_output_channels=3)


def blur(image, sigma):
    """MoCo v2's GaussianBlur."""
    return image.filter(ImageFilter.GaussianBlur(radius=sigma))


def crop_resize(image, crop, size):
    left, top, width, height = crop
    return F.resized_crop(image, top, left, height, width, [size, size])


def after_resize(image, color, gray, sigma, flip):
    """MoCo v2's operations after the resized crop."""
    for name, factor in color:
        image = COLOR[name](image, factor)
    if gray:
        image = grayscale(image)
    if sigma is not None:
        image = blur(image, sigma)
    return F.hflip(image) if flip else image


cases = {"color": [], "grayscale": [], "blur": [], "crop_resize": [], "pipeline": []}


def save(kind, source, label, image, **parameters):
    file = f"{kind}_{source}_{label}.png"
    image.save(HERE / file, optimize=True)
    cases[kind].append({"file": file, "source": f"source_{source}.png", **parameters})


def color_cases():
    factors = {
        "brightness": [0.6, 1.37],
        "contrast": [0.63, 1.4],
        "saturation": [0.6, 1.31],
        "hue": [-0.1, -0.037, 0.0, 0.073],
    }
    for name, values in factors.items():
        for factor in values:
            for source in ["scene", "palette"]:
                image = COLOR[name](SOURCES[source], factor)
                save("color", source, f"{name}_{factor}", image, op=name, factor=factor)
    for source in ["scene", "palette"]:
        save("grayscale", source, "luma", grayscale(SOURCES[source]))


def blur_cases():
    # 6.0 is outside MoCo v2's range and tests box filters that are several pixels wide.
    for sigma in [0.1, 0.5, 1.3, 2.0, 6.0]:
        save("blur", "scene", sigma, blur(SOURCES["scene"], sigma), sigma=sigma)


def resize_cases():
    crops = {
        "scene": [(0, 0, 97, 73, 32), (11, 7, 61, 52, 48), (30, 20, 23, 29, 64), (5, 3, 48, 64, 48)],
        "tall": [(0, 10, 48, 36, 56)],
    }
    for source, boxes in crops.items():
        for *crop, size in boxes:
            label = "_".join(map(str, [*crop, size]))
            image = crop_resize(SOURCES[source], crop, size)
            save("crop_resize", source, label, image, crop=crop, size=size)


def pipeline_cases():
    b, c, s, h = "brightness", "contrast", "saturation", "hue"
    runs = [
        ("scene", (9, 4, 70, 60), 64, [(b, 1.21), (c, 0.74), (s, 1.33), (h, -0.061)], False, 1.1, True),
        ("scene", (20, 11, 40, 44), 56, [(h, 0.09), (s, 0.65), (c, 1.38), (b, 0.83)], False, None, False),
        ("tall", (0, 13, 48, 50), 48, [(c, 1.12), (h, 0.043), (b, 0.69), (s, 0.91)], True, 0.7, True),
        ("tall", (3, 2, 37, 41), 64, [], False, 1.9, False),
    ]
    for number, (source, crop, size, color, gray, sigma, flip) in enumerate(runs):
        resized = crop_resize(SOURCES[source], crop, size)
        resized_file = f"pipeline_{source}_{number}_resized.png"
        resized.save(HERE / resized_file, optimize=True)
        image = after_resize(resized, color, gray, sigma, flip)
        save(
            "pipeline", source, number, image, resized=resized_file,
            crop=crop, size=size, color=color, grayscale=gray, sigma=sigma, flip=flip,
        )


def normalization():
    levels = [0, 1, 17, 64, 127, 128, 200, 254, 255]
    pixels = np.array([[level] * 3 for level in levels], dtype=np.uint8).reshape(1, -1, 3)
    tensor = F.to_tensor(Image.fromarray(pixels))
    tensor = F.normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return {"levels": levels, "planes": [[float(v) for v in plane] for plane in tensor[:, 0]]}


def crop_statistics(width, height, scale, ratio, draws=100_000):
    """Means and standard deviations of RandomResizedCrop's rectangles; the single draws are not stored."""
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    boxes = [
        transforms.RandomResizedCrop.get_params(image, scale, ratio) for _ in range(draws)
    ]
    top, left, h, w = np.array(boxes, dtype=np.float64).T
    figures = {
        "area": w * h / (width * height),
        "log_ratio": np.log(w / h),
        "center_x": (left + w / 2) / width,
        "center_y": (top + h / 2) / height,
    }
    return {
        "width": width,
        "height": height,
        "scale": scale,
        "ratio": ratio,
        "draws": draws,
        "mean": {name: float(values.mean()) for name, values in figures.items()},
        "std": {name: float(values.std()) for name, values in figures.items()},
    }


def main():
    for name, image in SOURCES.items():
        image.save(HERE / f"source_{name}.png", optimize=True)
    color_cases()
    blur_cases()
    resize_cases()
    pipeline_cases()
    ratio = [3 / 4, 4 / 3]
    document = {
        "made_with": {
            "torch": torch.__version__.split("+")[0],
            "torchvision": torchvision.__version__.split("+")[0],
            "pillow": PIL.__version__,
        },
        **cases,
        "normalization": normalization(),
        "random_resized_crop": [
            crop_statistics(500, 375, [0.2, 1.0], ratio),
            # A picture so tall that most attempts fail and the centred fallback is used.
            crop_statistics(150, 600, [0.2, 1.0], ratio),
        ],
    }
    (HERE / "cases.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
