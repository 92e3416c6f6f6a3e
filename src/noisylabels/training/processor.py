"""What a processor does badly: precisions without instructions for them, and a fault of its convolutions."""

from __future__ import annotations

import torch
from torch import nn

_CHECKS = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}


def slow_precision(precision: str, device: torch.device) -> str:
    """Return a note if a processor computes in a precision without instructions for it, else "".

    Convolutions then fall back to code that is tens of times slower: on a processor with AVX2 alone, 29 to 42
    times in either precision (torch 2.13, one thread).
    """
    if device.type != "cpu" or precision not in _CHECKS:
        return ""
    has = getattr(torch.ops.mkldnn, _CHECKS[precision], None)  # no public function says it
    if has is None or has():
        return ""
    return (
        f"this processor has no instructions for {precision}: training takes many times as long as in "
        "float32; choose float32 or another machine"
    )


def corrupts_memory(network: nn.Module, device: torch.device) -> bool:
    """Return whether a network's convolutions would write past their memory in the layout channels_last.

    With AVX2 alone, the backward pass of a strided convolution with kernels of 1x1 does so for fewer than 8
    input channels (oneDNN in torch 2.13), and the process aborts sooner or later.
    """
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return False
    convolutions = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    return any(
        each.kernel_size == (1, 1) and max(each.stride) > 1 and each.in_channels < 8 for each in convolutions
    )
