"""Use a loss in Hugging Face's Trainer through `compute_loss_func`: a tiny ResNet on digits.

pip install '.[examples]'
python examples/with_trainer.py

The script builds the model from a configuration and downloads nothing; `from_pretrained` works the same way.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments, set_seed

import noisylabels as nl

EPOCHS = 15


class ComputeLoss:
    """A loss as Trainer calls it, correct with gradient accumulation and several devices.

    In training, Trainer passes the number of labels in all batches of a step and adds up the returned values.
    In evaluation it passes None and expects the mean over the batch.
    """

    def __init__(self, expression: str) -> None:
        self.total = nl.loss(expression, reduction="sum")
        self.mean = nl.loss(expression)

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a batch."""
        if num_items_in_batch is None:
            return self.mean(outputs.logits, labels)
        return self.total(outputs.logits, labels) / num_items_in_batch


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Images and labels in the form that Trainer expects."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images / 127.5 - 1, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.images[i], "labels": self.labels[i]}


def make_trainer(expression: str | None, folder: str, train: Rows, test: Rows, **arguments: Any) -> Trainer:
    """Return a Trainer of a small model with a loss, or with the model's own (cross entropy) if None."""
    set_seed(0)
    config = ResNetConfig(
        num_channels=1,
        embedding_size=16,
        hidden_sizes=[32, 64],
        depths=[1, 1],
        layer_type="basic",
        downsample_in_first_stage=False,
        num_labels=10,
    )
    settings: dict[str, Any] = {
        "output_dir": folder,
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 512,
        "learning_rate": 1e-2,
        "warmup_steps": 0.1,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }
    return Trainer(
        model=ResNetForImageClassification(config),
        args=TrainingArguments(**(settings | arguments)),
        train_dataset=train,
        eval_dataset=test,
        compute_loss_func=ComputeLoss(expression) if expression else None,  # the only line that changes
        compute_metrics=lambda p: {"accuracy": np.mean(p.predictions.argmax(1) == p.label_ids)},
    )


def main() -> None:
    """Train with both losses and print the accuracy on clean test labels."""
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    train = Rows(train_set.images, torch.as_tensor(noisy.given))
    test = Rows(test_set.images, test_set.labels)
    with tempfile.TemporaryDirectory() as folder:
        for expression in (None, "nce+mae"):
            trainer = make_trainer(expression, folder, train, test)
            trainer.train()
            accuracy = trainer.evaluate()["eval_accuracy"]
            print(f"{expression or 'ce'}: {accuracy:.1%} of the clean test labels")


if __name__ == "__main__":
    main()
