"""An encoder that is a network for images, on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from noisylabels.encoders.encoder import IMAGES, FrozenEncoder
from noisylabels.encoders.preprocessing import Preprocessing

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def fastest_precision(device: torch.device) -> str:
    """Return bfloat16 where the device computes with it, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bfloat16" if check is not None and check() else "float32"


class ImageNetwork(FrozenEncoder):
    """A network whose output for an image, pooled, is its features.

    Batches are filled up to `batch_size`, so that the features of an image do not depend on how many others
    there are.

    Args:
        name, dimension, batch_size: see `FrozenEncoder`.
        network: takes float (B, 3, S, S); moved to the device.
        features: returns (B, D) for the network's inputs; by default the network's output.
        preprocessing: makes these inputs.
        about: the rest of the identity, such as the digest of the weights.
        device: where it runs.
        precision: of the network, float32 or bfloat16; "auto" for the fastest one.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        preprocessing: Preprocessing,
        about: Mapping[str, Any],
        *,
        dimension: int,
        features: Callable[[Tensor], Tensor] | None = None,
        device: torch.device,
        precision: str = "auto",
        batch_size: int = 32,
    ) -> None:
        self.precision = fastest_precision(device) if precision == "auto" else precision
        identity = {**about, "preprocessing": preprocessing.identity(), "precision": self.precision}
        super().__init__(name, IMAGES, identity, dimension, batch_size)
        self.device, self.preprocessing = device, preprocessing
        network = network.eval().to(device=device, dtype=PRECISIONS[self.precision])
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._features = features or self.network

    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        """Return the features of uint8 images (B, C, H, W): float32 (B, D)."""
        assert isinstance(batch, Tensor)
        count = len(batch)
        if count < self.batch_size:
            batch = torch.cat([batch, batch[:1].expand(self.batch_size - count, -1, -1, -1)])
        with torch.inference_mode():
            x = self.preprocessing(batch.to(self.device))
            x = x.to(dtype=PRECISIONS[self.precision], memory_format=torch.channels_last)
            return self._features(x)[:count].float().cpu()
