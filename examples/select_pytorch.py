"""Select the examples of small loss in a plain PyTorch loop, on digits with 40 % noisy labels.

python examples/select_pytorch.py
"""

from __future__ import annotations

import torch
from torch import nn

import noisylabels as nl

EPOCHS = 40


def train(selector: nl.Selector | None, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Train a small network; the loop stands for your own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    criterion = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            logits = model(images[batch])
            losses = criterion(logits, labels[batch])
            weights = torch.ones_like(losses)
            if selector is not None:
                weights = selector(batch, logits, labels[batch])
            optimizer.zero_grad()
            ((weights * losses).sum() / weights.sum().clamp_min(1)).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train with and without selection, and print the accuracy on clean test labels."""
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    images, test_images = train_set.images / 255, test_set.images / 255
    for name in ("ce", "small_loss", "agreement"):
        selector = None if name == "ce" else nl.Selector(name, num_examples=len(images))
        model = train(selector, images, torch.as_tensor(noisy.given))
        with torch.inference_mode():
            right = model(test_images).argmax(1) == test_set.labels
        print(f"{name}: {right.float().mean():.1%} of the clean test labels")
        if selector is not None and selector.rate is not None:
            print(f"estimated noise rate {selector.rate:.2f}, in truth {noisy.rate:.2f}")


if __name__ == "__main__":
    main()
