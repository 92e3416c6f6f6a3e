"""Whether a model takes the images and gives the logits that it should, said in one line."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, one_line


def first_logits(model: nn.Module, images: Tensor, num_classes: int, name: str = "the model") -> Tensor:
    """Return the model's logits (B, K) of images (B, C, H, W), the first that are asked of it.

    Raises:
        InputError: the model fails on such images, or gives anything but B rows of K floating-point
            numbers. The model's own error is its cause. A lack of memory is no fault of the model and
            passes as it is.
    """
    size = f"{tuple(images.shape)} {images.dtype}"
    try:
        logits = model(images)
    except Exception as error:
        if isinstance(error, InputError | MemoryError) or "memory" in str(error).lower():
            raise
        raise InputError(f"{name} cannot take images of shape {size}: {one_line(error)}") from error
    wanted = (len(images), num_classes)
    if isinstance(logits, Tensor):
        if tuple(logits.shape) == wanted and logits.is_floating_point():
            return logits
        got = f"{tuple(logits.shape)} {logits.dtype}"
    else:
        got = f"a {type(logits).__name__}"
    raise InputError(
        f"{name} gives {got} for images of shape {size}, expected floating-point logits of shape {wanted}: "
        f"one for each of {num_classes} classes"
    )


def try_out(
    model: nn.Module, name: str, *, channels: int, image_size: tuple[int, int], num_classes: int
) -> None:
    """Show a model that is not ours two black images, on the CPU, and see that it can be saved.

    A model with lazy layers is complete after it. What is one pixel high in one channel is no image but a
    row of features, and comes as (B, D), as training gives it.

    Raises:
        InputError: it does not take them, gives something else than (2, K), or keeps in its state
            anything but tensors, which the file of a trained model could not hold.
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
                f"{name} keeps {key!r} in its state_dict, a {type(value).__name__}; expected tensors only, "
                "which a model file can hold"
            )
