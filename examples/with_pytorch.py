"""Use a loss in a plain PyTorch training loop, on digits with 40 % noisy labels.

python examples/with_pytorch.py
"""

from __future__ import annotations

import torch
from torch import nn

import noisylabels as nl

EPOCHS = 40


def train(criterion: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Train a small network with any loss; the loop stands for your own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            criterion(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train with both losses and print the accuracy on clean test labels."""
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    images, test_images = train_set.images / 255, test_set.images / 255

    losses = {
        "ce": nn.CrossEntropyLoss(),
        "nce+mae": nl.loss("nce+mae"),  # the only line that changes
    }
    for name, criterion in losses.items():
        model = train(criterion, images, torch.as_tensor(noisy.given))
        with torch.inference_mode():
            right = model(test_images).argmax(1) == test_set.labels
        print(f"{name}: {right.float().mean():.1%} of the clean test labels")


if __name__ == "__main__":
    main()
