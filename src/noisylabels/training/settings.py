"""The settings of training: flat, typed, with the reason for each default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.rng import derive_seed

if TYPE_CHECKING:
    import torch

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "constant", "step", "onecycle")
PRECISIONS = ("float32", "bfloat16", "float16")

KEPT = ("last", "best")

BATCH_NORMS = ("auto", "train", "frozen")

CAPTURES = ("auto", "on", "off")

HOW = ("device", "capture", "checkpoint_epochs", "checkpoint_minutes")
"""Settings of how training is executed, not of what it computes: a run may resume under others."""


@dataclass(frozen=True)
class Settings:
    """The settings of training. The defaults are the paper's recipe (its section 4.1)."""

    epochs: int = 120
    """passes over the training set (the paper: 120)"""
    batch_size: int = 128
    """examples per step (the paper: 128)"""
    optimizer: str = "sgd"
    """sgd or adamw (the paper: sgd)"""
    lr: float = 0.01
    """peak learning rate (the paper: 0.01)"""
    loss_lr: float | None = None
    """peak learning rate of the loss's own parameters, if any (default: that of the network)"""
    body_lr: float = 1.0
    """learning rate of all layers but the last, as a share of lr: below 1 to fine-tune a pretrained model"""
    frozen_epochs: int = 0
    """first epochs in which only the last layer is trained, so that a pretrained model keeps its features
    until that layer has learned"""
    batch_norm: str = "auto"
    """statistics of batch normalization: train (those of the batch, and running ones for evaluation), frozen
    (the running ones, which stay), auto (frozen for pretrained weights and with frozen_epochs: a network
    changes its features at once where batches replace the statistics that it was pretrained with)"""
    momentum: float = 0.9
    """momentum of sgd, or the first beta of adamw (the paper: 0.9)"""
    weight_decay: float = 1e-4
    """on all weights: the L2 penalty of sgd, or the decoupled decay of adamw (the paper: 1e-4)"""
    l1: float = 0.0
    """L1 penalty on all weights (Active Negative Loss uses 5e-5 on CIFAR-10)"""
    schedule: str = "cosine"
    """learning rate schedule: cosine (to 0, stepped per epoch, as in the paper), constant, step (to a tenth
    at 1/2 and 3/4 of the epochs), onecycle"""
    warmup_epochs: float = 0.0
    """epochs in which the learning rate rises from 0 (the paper: none)"""
    clip: float = 0.0
    """maximum norm of the gradient, 0 for no limit (the paper: none mentioned; code of Ma et al. 2020: 5)"""
    augment: str = "none"
    """random changes of training images, joined with +: none, flip, crop:4, resized-crop:0.08 (least
    share of the area), rand:2 (random operations), cutout:16; of features: noise:0.1, dropout:0.1"""
    precision: str = "float32"
    """float32, or autocast in bfloat16 or in float16 with loss scaling (the paper: mixed precision under
    symmetric noise)"""
    channels_last: bool = True
    """memory layout of images and convolutions: faster on CPUs and GPUs"""
    validation: float = 0.0
    """share of the training set, at most 0.5, held out with its given labels, correct or not, to select an
    epoch; 0 for none (the paper: none)"""
    keep_epoch: str = "last"
    """last or best: the epoch whose weights are kept; best: the latest with a validation accuracy within one
    standard error of the highest (the paper: last)"""
    ema: float = 0.0
    """decay of an exponential moving average of the weights, which is then evaluated and saved; 0 for none"""
    seed: int = 0
    """seed of the noise, validation split, initial weights, order and augmentation, one random stream each"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps"""
    capture: str = "auto"
    """on a GPU, record the step once as a CUDA graph and replay it: auto (unless the model or loss is your
    own code, because a graph freezes its decisions in Python), on, off"""
    checkpoint_epochs: int = 1
    """epochs between checkpoints"""
    checkpoint_minutes: float = 5.0
    """minutes after which a checkpoint is written, within an epoch too"""

    def __post_init__(self) -> None:
        check_between(self.epochs, "epochs", low=1)
        check_between(self.batch_size, "batch_size", low=2)  # batch normalization needs two
        check_between(self.checkpoint_epochs, "checkpoint_epochs", low=1)
        check_choice(self.optimizer, OPTIMIZERS, "optimizer")
        check_choice(self.schedule, SCHEDULES, "schedule")
        check_choice(self.precision, PRECISIONS, "precision")
        check_choice(self.batch_norm, BATCH_NORMS, "batch normalization")
        check_choice(self.capture, CAPTURES, "capture")
        check_choice(self.keep_epoch, KEPT, "epoch to keep")
        check_between(self.lr, "lr", low=0.0, open_low=True)
        if self.loss_lr is not None:
            check_between(self.loss_lr, "loss_lr", low=0.0)
        for name in ("weight_decay", "l1", "clip", "warmup_epochs", "checkpoint_minutes"):
            check_between(getattr(self, name), name, low=0.0)
        check_between(self.body_lr, "body_lr", low=0.0, open_low=True)
        check_between(self.frozen_epochs, "frozen_epochs", low=0)
        check_between(self.validation, "validation", low=0.0, high=0.5)
        for name in ("momentum", "ema"):
            check_between(getattr(self, name), name, low=0.0, high=1.0, open_high=True)
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warmup_epochs is {self.warmup_epochs:g}, expected less than the {self.epochs} epochs"
            )
        if self.warmup_epochs and self.schedule == "onecycle":
            raise InputError("onecycle has its own warm-up; leave out warmup_epochs or use another schedule")
        derive_seed(self.seed)  # raises on a negative seed

    @property
    def dtype(self) -> torch.dtype:
        """The type of number that the network computes in."""
        import torch  # not to be imported with the settings, which a command line needs at once

        kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16}
        return kinds.get(self.precision, torch.float32)
