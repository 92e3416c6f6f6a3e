"""The losses' fast path: value and gradient in one pass, by torch's operations, a C kernel or Triton kernels.

The names below are all that the rest of the package uses; which kernel runs is decided in this folder alone.
"""

from __future__ import annotations

from noisylabels.losses.kernels import slopes
from noisylabels.losses.kernels.fused import (
    DTYPES,
    Plan,
    evaluate,
    is_transformed,
    value_and_gradient,
)
from noisylabels.losses.kernels.native import name as kernel_name

__all__ = [
    "DTYPES",
    "Plan",
    "evaluate",
    "is_transformed",
    "kernel_name",
    "slopes",
    "value_and_gradient",
]
