"""Select examples whose label agrees with the trend of their predictions, in Hugging Face's Trainer.

pip install '.[examples]'
python examples/select_trainer.py

A data set hands each example's position to `compute_loss` as one more column; the model does not see it.
Trainer divides the value by the number of accumulated batches, except for models whose `forward` takes
`num_items_in_batch`: divide there by `self.current_gradient_accumulation_steps`. The script builds the model
from a configuration and downloads nothing; `from_pretrained` works the same way.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments, set_seed

import noisylabels as nl

EPOCHS = 25


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Images and labels in the form that Trainer expects, with their positions."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images / 127.5 - 1, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"pixel_values": self.images[i], "labels": self.labels[i], "positions": i}


class SelectingTrainer(Trainer):
    """A Trainer that learns from the selected examples of each batch."""

    def __init__(self, *given: Any, selector: nl.Selector | None, **more: Any) -> None:
        super().__init__(*given, **more)
        self.selector = selector

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **unused: Any
    ) -> Any:
        """Return the mean loss of the selected examples; all of them in evaluation."""
        outputs = model(pixel_values=inputs["pixel_values"])
        labels = inputs["labels"]
        losses = functional.cross_entropy(outputs.logits, labels, reduction="none")
        weights = torch.ones_like(losses)
        if self.selector is not None and model.training:
            weights = self.selector(inputs["positions"], outputs.logits, labels)
        value = (weights * losses).sum() / weights.sum().clamp_min(1)
        return (value, {"logits": outputs.logits}) if return_outputs else value


def main() -> None:
    """Train with and without selection, and print the accuracy on clean test labels."""
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    train = Rows(train_set.images, torch.as_tensor(noisy.given))
    test = Rows(test_set.images, test_set.labels)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ce", "agreement"):
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
            trainer = SelectingTrainer(
                ResNetForImageClassification(config),
                TrainingArguments(
                    folder,
                    num_train_epochs=EPOCHS,
                    per_device_train_batch_size=64,
                    per_device_eval_batch_size=512,
                    learning_rate=1e-2,
                    remove_unused_columns=False,  # positions are for compute_loss
                    label_names=["labels"],
                    save_strategy="no",
                    logging_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    use_cpu=True,
                    dataloader_pin_memory=False,
                    seed=0,
                ),
                train_dataset=train,
                eval_dataset=test,
                compute_metrics=lambda p: {"accuracy": np.mean(p.predictions.argmax(1) == p.label_ids)},
                selector=None if name == "ce" else nl.Selector(name, num_examples=len(train)),
            )
            trainer.train()
            accuracy = trainer.evaluate()["eval_accuracy"]
            print(f"{name}: {accuracy:.1%} of the clean test labels")


if __name__ == "__main__":
    main()
