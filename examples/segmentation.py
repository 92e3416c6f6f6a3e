"""Dense prediction: logits (N, K, H, W), labels (N, H, W), 255 for "not labelled". 40 % of the objects are named wrongly.

python examples/segmentation.py

The images are made here: discs, squares and triangles on a noisy ground. As people do, the annotator takes a whole
object for another, and leaves a seam of pixels around each object unlabelled.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import noisylabels as nl

CLASSES = ("ground", "disc", "square", "triangle")
SIDE = 32
UNLABELLED = 255
EPOCHS = 60


def shape(kind: int, size: float) -> np.ndarray:
    """Return where an object of a kind is, around the middle of the image, as (SIDE, SIDE) booleans and beyond."""
    y, x = np.mgrid[-SIDE:SIDE, -SIDE:SIDE] + 0.5
    if kind == 1:
        return x**2 + y**2 < size**2
    if kind == 2:
        return np.maximum(abs(x), abs(y)) < 0.89 * size
    return (y < 0.8 * size) & (y > 2 * abs(x) - 1.2 * size)


def make(images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[np.ndarray]]:
    """Return images (N, 1, SIDE, SIDE), classes and numbers of objects (N, SIDE, SIDE), and each image's objects."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(0, 0.2, (images, 1, SIDE, SIDE)).astype(np.float32)
    classes = np.zeros((images, SIDE, SIDE), dtype=np.int64)
    numbers = np.zeros((images, SIDE, SIDE), dtype=np.int64)  # 0: ground, then 1, 2, ... over all images
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


def seam(numbers: torch.Tensor) -> torch.Tensor:
    """Return which pixels touch a pixel of another object, (N, SIDE, SIDE)."""
    most = nn.functional.max_pool2d(numbers.float()[:, None], 3, 1, 1)
    least = -nn.functional.max_pool2d(-numbers.float()[:, None], 3, 1, 1)
    return (most != least)[:, 0]


def network() -> nn.Module:
    """Return a small fully convolutional network."""
    layers: list[nn.Module] = []
    for before, after, step in ((1, 32, 1), (32, 32, 2), (32, 64, 2), (64, 64, 4), (64, 64, 1)):
        layers += [nn.Conv2d(before, after, 3, padding=step, dilation=step), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, len(CLASSES), 1))


def iou(predicted: torch.Tensor, classes: torch.Tensor) -> float:
    """Return the mean over the classes of intersection over union."""
    found = [((predicted == k) & (classes == k)).sum() / ((predicted == k) | (classes == k)).sum() for k in range(4)]
    return torch.stack(found).mean().item()


def main() -> None:
    """Train with both losses and print the mean intersection over union on clean test masks."""
    images, _, numbers, kinds = make(64, seed=0)
    test_images, test_classes, _, _ = make(128, seed=1)
    wrong = nl.corrupt(kinds[1:] - 1, "symmetric:0.4", num_classes=3, seed=0)
    given = torch.as_tensor(np.r_[0, 1 + wrong.given])[numbers]
    given[seam(numbers)] = UNLABELLED
    print(f"{len(kinds) - 1} objects, {wrong.rate:.1%} named wrongly, {(given == UNLABELLED).float().mean():.1%} unlabelled")

    for expression in ("ce", "nce+mae"):
        criterion = nl.loss(expression, ignore_index=UNLABELLED)  # the one line
        torch.manual_seed(0)
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for epoch in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(images)).split(16):
                optimizer.zero_grad()
                criterion(model(images[batch]), given[batch]).backward()
                optimizer.step()
            if epoch%10==9:
              model.eval()
              with torch.inference_mode():
                predicted = model(test_images).argmax(1)
              print(f"{epoch} {expression}: mean IoU {iou(predicted, test_classes):.1%} on clean test masks")


if __name__ == "__main__":
    main()
