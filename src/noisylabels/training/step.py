"""One step of training: forward, backward, penalties, clipping, update, average."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from noisylabels.training.optim import build_optimizer
from noisylabels.training.settings import Settings


class Step:
    """The model, its optimizer and all that belongs to an update; its state can be saved and loaded."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.model = model
        self.loss = loss
        self.clip = settings.clip
        self.l1 = settings.l1
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(self.parameters, settings)
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(settings.precision)
        self.autocast = torch.autocast(device.type, dtype=half, enabled=half is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        self.ema = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
            if settings.ema
            else None
        )

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate and keep: the averaged one if there is one."""
        return self.ema.module if self.ema is not None else self.model

    def __call__(self, images: Tensor, target: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; return the loss () and the logits (B, K), both detached."""
        with self.autocast:
            logits = self.model(images)
        value = self.loss(logits.float(), target)  # outside autocast: losses want float32 or better
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        if self.l1 or self.clip:
            self.scaler.unscale_(self.optimizer)
        if self.l1:  # the gradient of l1 * sum |w|
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach().sign(), alpha=self.l1)
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return value.detach(), logits.detach()

    def state_dict(self) -> dict[str, object]:
        """Return all that the next step depends on, but for the random state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
        }

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Go back to what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
