"""Use a loss in Lightning, as an attribute of the module, on digits with 40 % noisy labels.

pip install '.[examples]'
python examples/with_lightning.py
"""

from __future__ import annotations

import logging

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import noisylabels as nl

EPOCHS = 40


class Digits(lightning.LightningModule):
    """A small network with a given loss."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        self.criterion = criterion

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return self.criterion(self.net(images), labels)

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Log the accuracy of a batch."""
        images, labels = batch
        self.log("accuracy", (self.net(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


def main() -> None:
    """Train with both losses and print the accuracy on clean test labels."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    train = TensorDataset(train_set.images / 255, torch.as_tensor(noisy.given))
    test = TensorDataset(test_set.images / 255, test_set.labels)
    losses = {
        "ce": nn.CrossEntropyLoss(),
        "nce+mae": nl.loss("nce+mae"),  # the only line that changes
    }
    for name, criterion in losses.items():
        lightning.seed_everything(0, verbose=False)
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        model = Digits(criterion)
        trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True))
        (found,) = trainer.test(model, DataLoader(test, batch_size=len(test)), verbose=False)
        print(f"{name}: {found['accuracy']:.1%} of the clean test labels")


if __name__ == "__main__":
    main()
