"""The counterpart of `densecl embed --images DIR --out FILE.npy` in PyTorch: writes the mean of the last
feature map of every JPEG file in a folder, in batches of 32.

    OMP_NUM_THREADS=2 python3 bench/embed_pytorch.py --images ~/photos --out features.npy --threads 2
"""

import argparse
from pathlib import Path

import numpy
import torch
import torchvision
from PIL import Image
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, ResNet


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files, size):
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize(size),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.transform(Image.open(self.files[index]).convert("RGB"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variant", choices=["eager", "channels_last"], default="eager")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    memory_format = torch.channels_last if args.variant == "channels_last" else torch.contiguous_format
    if args.backbone == "resnet10":
        net = ResNet(BasicBlock, [1, 1, 1, 1])
    else:
        net = getattr(torchvision.models, args.backbone)(weights=None)
    body = torch.nn.Sequential(*list(net.children())[:-2]).eval().to(memory_format=memory_format)
    files = sorted(args.images.rglob("*.jpg"))
    # With one thread, decoding alternates with the network; with more, worker processes decode meanwhile.
    workers = 0 if args.threads == 1 else args.threads
    loader = torch.utils.data.DataLoader(Pictures(files, args.size), batch_size=32, num_workers=workers)
    features = []
    with torch.inference_mode():
        for images in loader:
            features.append(body(images.to(memory_format=memory_format)).mean((2, 3)))
    numpy.save(args.out, torch.cat(features).numpy())


if __name__ == "__main__":
    main()
