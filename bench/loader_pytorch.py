#!/usr/bin/env python3
"""Measures how many images per second torchvision turns into views: the counterpart of `densecl loader-speed`.

Makes two MoCo v2 views of each JPEG file (random resized crop, colour jitter, grayscale, blur, flip,
normalisation) in three ways:

  pil        torchvision 0.20's transforms on a PIL image, the authors' pipeline
  v2         torchvision.transforms.v2 on uint8 tensors, decoded by torchvision.io (libjpeg-turbo)
  dataloader `pil` inside torch.utils.data.DataLoader, batches of 16 as contiguous tensors

`pil` and `v2` call the pipeline directly on THREADS threads, each with PyTorch's own thread count set to one,
so DataLoader's overhead is excluded. `dataloader` includes it: THREADS worker processes, or the main process
if THREADS is 0.

    python bench/loader_pytorch.py --data ~/photos --size 224 --threads 1 --seconds 10
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from torchvision import io, transforms
from torchvision.transforms import v2

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EXTENSIONS = {".jpg", ".jpeg"}


class GaussianBlur:
    """MoCo v2's blur: PIL's Gaussian blur, standard deviation drawn uniformly from [0.1, 2] pixels."""

    def __call__(self, image):
        sigma = torch.empty(1).uniform_(0.1, 2.0).item()
        return image.filter(ImageFilter.GaussianBlur(radius=sigma))


def pil_views(size):
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([GaussianBlur()], p=0.5),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def v2_views(size):
    # The kernel spans three standard deviations to either side at the largest sigma.
    blur = v2.GaussianBlur(kernel_size=13, sigma=(0.1, 2.0))
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.2, 1.0), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([blur], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


class Pictures(torch.utils.data.Dataset):
    """Two views of each file."""

    def __init__(self, files, load, views):
        self.files, self.load, self.views = files, load, views

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = self.load(self.files[index % len(self.files)])
        return self.views(image), self.views(image)


def load_pil(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def load_tensor(path):
    return io.decode_jpeg(io.read_file(str(path)), mode=io.ImageReadMode.RGB)


def by_threads(pictures, threads, seconds):
    """Images per second when threads call the pipeline directly."""
    pictures[0]
    start = time.perf_counter()
    end = start + seconds

    def work(first):
        done = 0
        while time.perf_counter() < end:
            pictures[first + done * threads]
            done += 1
        return done

    if threads == 1:
        done = work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            done = sum(pool.map(work, range(threads)))
    return done / (time.perf_counter() - start)


def by_dataloader(pictures, threads, seconds):
    """Images per second of DataLoader; the time starts after the first batch."""
    endless = torch.utils.data.RandomSampler(pictures, replacement=True, num_samples=10**7)
    loader = torch.utils.data.DataLoader(
        pictures, batch_size=16, sampler=endless, num_workers=threads, drop_last=True
    )
    batches = iter(loader)
    next(batches)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        query, _ = next(batches)
        done += len(query)
    return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of JPEG files, walked recursively")
    parser.add_argument("--size", type=int, default=224, help="side of a view in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="per pipeline")
    parser.add_argument("--only", choices=["pil", "v2", "dataloader"], action="append", help="default: all")
    args = parser.parse_args()
    files = sorted(path for path in args.data.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not files:
        sys.exit(f"{args.data}: no JPEG files in it or below it")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    pil = Pictures(files, load_pil, pil_views(args.size))
    v2_pictures = Pictures(files, load_tensor, v2_views(args.size))
    threads = max(args.threads, 1)
    pipelines = {
        "pil": lambda: by_threads(pil, threads, args.seconds),
        "v2": lambda: by_threads(v2_pictures, threads, args.seconds),
        "dataloader": lambda: by_dataloader(pil, args.threads, args.seconds),
    }
    speeds = {name: pipelines[name]() for name in args.only or pipelines}
    report = {
        "images_per_second": speeds,
        "threads": args.threads,
        "size": args.size,
        "seconds": args.seconds,
        "files": len(files),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
