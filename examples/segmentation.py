"""Train a segmentation network: logits (N, K, H, W), labels (N, H, W), 255 for unlabeled pixels.

python examples/segmentation.py

The script draws its images: discs, squares and triangles on a noisy background. Like a human annotator,
the simulated one mislabels whole objects (30 % of them) and leaves a border around each unlabeled.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import noisylabels as nl

CLASSES = ("background", "disc", "square", "triangle")
SIDE = 32
UNLABELED = 255
EPOCHS = 30


def shape(kind: int, size: float) -> np.ndarray:
    """Return the mask of an object, (2 SIDE, 2 SIDE) booleans around its center."""
    y, x = np.mgrid[-SIDE:SIDE, -SIDE:SIDE] + 0.5
    if kind == 1:
        return x**2 + y**2 < size**2
    if kind == 2:
        return np.maximum(abs(x), abs(y)) < 0.89 * size
    return (y < 0.8 * size) & (y > 2 * abs(x) - 1.2 * size)


def make(images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Return images (N, 1, SIDE, SIDE), classes and object ids (N, SIDE, SIDE), and each object's class."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(0, 0.2, (images, 1, SIDE, SIDE)).astype(np.float32)
    classes = np.zeros((images, SIDE, SIDE), dtype=np.int64)
    numbers = np.zeros((images, SIDE, SIDE), dtype=np.int64)  # 0: background; objects count from 1
    kinds = [0]
    for image in range(images):
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kind, size = int(draw.integers(1, len(CLASSES))), draw.uniform(4, 7)
            top, left = (SIDE - np.array(corner) * SIDE // 2 - draw.integers(7, 10, 2)).tolist()
            there = shape(kind, size)[top : top + SIDE, left : left + SIDE]
            pixels[image, 0][there] += draw.uniform(0.7, 1.3)
            classes[image][there] = kind
            numbers[image][there] = len(kinds)
            kinds.append(kind)
    return torch.from_numpy(pixels), torch.from_numpy(classes), torch.from_numpy(numbers), np.array(kinds)


def border(numbers: torch.Tensor) -> torch.Tensor:
    """Return which pixels are next to a pixel of another object, (N, SIDE, SIDE) booleans."""
    most = nn.functional.max_pool2d(numbers.float()[:, None], 3, 1, 1)
    least = -nn.functional.max_pool2d(-numbers.float()[:, None], 3, 1, 1)
    return (most != least)[:, 0]


def block(before: int, after: int) -> nn.Module:
    """Return a convolution with batch normalization and ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class Network(nn.Module):
    """A small fully convolutional network of coarse features for objects and fine ones for their edges."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = block(1, 16)
        self.coarse = nn.Sequential(
            nn.MaxPool2d(2),
            block(16, 24),
            nn.MaxPool2d(2),
            block(24, 48),
            block(48, 48),
            nn.Conv2d(48, 64, 1),
        )
        self.skip, self.head = nn.Conv2d(16, 64, 1), nn.Conv2d(64, len(CLASSES), 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (N, 1, H, W) to logits (N, K, H, W)."""
        fine = self.fine(images)
        coarse = nn.functional.interpolate(self.coarse(fine), scale_factor=4)
        return self.head(torch.relu(coarse + self.skip(fine)))


def iou(predicted: torch.Tensor, classes: torch.Tensor) -> float:
    """Return the mean intersection over union of the classes."""
    pairs = [(predicted == k, classes == k) for k in range(len(CLASSES))]
    return float(np.mean([float((a & b).sum() / (a | b).sum()) for a, b in pairs]))


def main() -> None:
    """Train with both losses and print the mean intersection over union on clean test masks."""
    images, _, numbers, kinds = make(96, seed=0)
    test_images, test_classes, _, _ = make(128, seed=1)
    wrong = nl.corrupt(kinds[1:] - 1, "symmetric:0.3", num_classes=3, seed=0)
    given = torch.as_tensor(np.r_[0, 1 + wrong.given])[numbers]
    given[border(numbers)] = UNLABELED
    blank = (given == UNLABELED).float().mean()
    print(f"{len(kinds) - 1} objects, {wrong.rate:.1%} mislabeled; {blank:.1%} of the pixels unlabeled")

    for expression in ("ce", "nce+rce"):
        criterion = nl.loss(expression, ignore_index=UNLABELED)  # the only line that changes
        torch.manual_seed(0)
        model = Network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(images)).split(16):
                optimizer.zero_grad()
                criterion(model(images[batch]), given[batch]).backward()
                optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            predicted = model(test_images).argmax(1)
        print(f"{expression}: mean IoU {iou(predicted, test_classes):.1%} on clean test masks")


if __name__ == "__main__":
    main()
