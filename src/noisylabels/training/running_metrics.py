"""Metrics accumulated on the device over the steps of an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from noisylabels.training.checkpoint import check_same


def zero_sum(device: torch.device) -> Tensor:
    """Return a zero to accumulate into: float64, but float32 on MPS, which lacks float64."""
    return torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


class RunningMetrics:
    """Predictions, loss and finiteness of an epoch's steps, kept on the device and read at its end."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.predicted = torch.full((n,), -1, device=device)
        self.loss_sum = zero_sum(device)
        # of loss and logits: whether finite in every step so far, and for how many steps
        self.finite = torch.ones(2, dtype=torch.bool, device=device)
        self.finite_steps = torch.zeros(2, dtype=torch.int64, device=device)

    def clear(self) -> None:
        """Start an epoch."""
        self.loss_sum.zero_()
        self.finite.fill_(True)
        self.finite_steps.zero_()

    def add(self, index: Tensor, value: Tensor, logits: Tensor) -> None:
        """Add a step: the examples' positions (B,), the loss () and the logits (B, K)."""
        self.predicted[index] = logits.argmax(1)
        self.loss_sum += value
        self.finite &= torch.stack([value.isfinite(), logits.isfinite().all()])
        self.finite_steps += self.finite

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        check_same(state, vars(self))
        for name, tensor in vars(self).items():
            tensor.copy_(state[name])
