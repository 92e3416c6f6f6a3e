"""Select the examples of small loss in Lightning, on digits with 40 % noisy labels.

pip install '.[examples]'
python examples/select_lightning.py

A `TensorDataset` hands each example's position to the step; the selector's state is in the checkpoint.
"""

from __future__ import annotations

import logging
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import noisylabels as nl

EPOCHS = 40


class Digits(lightning.LightningModule):
    """A small network that learns from selected examples."""

    def __init__(self, selector: nl.Selector | None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        self.selector = selector

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the mean loss of the selected examples."""
        positions, images, labels = batch
        logits = self.net(images)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        weights = torch.ones_like(losses)
        if self.selector is not None:
            weights = self.selector(positions, logits, labels)
        return (weights * losses).sum() / weights.sum().clamp_min(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of the selector."""
        if self.selector is not None:
            checkpoint["selector"] = self.selector.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        if self.selector is not None:
            self.selector.load_state_dict(checkpoint["selector"])

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Log the accuracy of a batch."""
        images, labels = batch
        self.log("accuracy", (self.net(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


def main() -> None:
    """Train with and without selection, and print the accuracy on clean test labels."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    images, given = train_set.images / 255, torch.as_tensor(noisy.given)
    train = TensorDataset(torch.arange(len(given)), images, given)
    test = TensorDataset(test_set.images / 255, test_set.labels)
    for name in ("ce", "small_loss"):
        lightning.seed_everything(0, verbose=False)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        model = Digits(None if name == "ce" else nl.Selector(name, num_examples=len(train)))
        trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True))
        (found,) = trainer.test(model, DataLoader(test, batch_size=len(test)), verbose=False)
        print(f"{name}: {found['accuracy']:.1%} of the clean test labels")


if __name__ == "__main__":
    main()
