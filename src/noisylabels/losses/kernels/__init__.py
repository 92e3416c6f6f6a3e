"""The losses' fast path: one pass for value and gradient, in torch, C, and Triton."""
