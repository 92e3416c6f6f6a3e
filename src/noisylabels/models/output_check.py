"""Check that a model accepts its inputs and returns logits of the right shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, one_line


def first_logits(model: nn.Module, inputs: Tensor, num_classes: int, name: str = "the model") -> Tensor:
    """Return the model's logits (B, K) for its first images (B, C, H, W) or rows (B, D), after checking them.

    Raises:
        InputError: the model fails on such inputs (its own error is the cause), or returns anything but
            floating-point (B, K). An out-of-memory error is raised unchanged.
    """
    size = f"{'rows' if inputs.ndim == 2 else 'images'} of shape {tuple(inputs.shape)} {inputs.dtype}"
    try:
        logits = model(inputs)
    except Exception as error:
        if isinstance(error, InputError | MemoryError) or "memory" in str(error).lower():
            raise
        raise InputError(f"{name} fails on {size}: {one_line(error)}") from error
    wanted = (len(inputs), num_classes)
    if isinstance(logits, Tensor):
        if tuple(logits.shape) == wanted and logits.is_floating_point():
            return logits
        got = f"{tuple(logits.shape)} {logits.dtype}"
    else:
        got = f"a {type(logits).__name__}"
    raise InputError(
        f"{name} returns {got} for {size}, expected floating-point logits of shape {wanted}: "
        f"one for each of {num_classes} classes"
    )


def try_out(
    model: nn.Module, name: str, *, channels: int, image_size: tuple[int, int], num_classes: int
) -> None:
    """Try a model from outside the catalog on two black images, on the CPU, and check that it can be saved.

    This also completes lazy layers. Inputs of one channel and height 1 are rows of features and are passed as
    (B, D), as in training.

    Raises:
        InputError: the model fails, returns anything but (2, K), or has anything but tensors in its
            state_dict, which the file of a trained model could not store.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        flat = channels == 1 and image_size[0] == 1
        shape = image_size[1:] if flat else (channels, *image_size)
        first_logits(model, torch.zeros(2, *shape), num_classes, name)
    for module, mode in training.items():
        module.training = mode
    for key, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} has {key!r} in its state_dict, a {type(value).__name__}; expected only tensors, "
                "which a model file can store"
            )
