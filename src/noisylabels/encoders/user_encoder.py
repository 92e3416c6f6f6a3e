"""User-defined encoders: ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``.

The contract is one function of a batch: its argument is called `images`, uint8 (B, C, H, W), or `texts`, a
list of B strings, and its result has one row of features per example, (B, D). The name may be that of this
function, or of a function or class without required arguments that is called once and returns it, such as
one that loads an nn.Module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.core.user_code import code_file, failed, find, importable, split_spec
from noisylabels.encoders.encoder import IMAGES, TEXTS, FrozenEncoder
from noisylabels.encoders.weights_digest import weights_digest

EXPECTED = (
    "a function of a batch, images or texts, or one without arguments that returns such a function or an "
    "nn.Module"
)


def is_user_encoder(name: str) -> bool:
    """Return whether an encoder's name is that of a user-defined function; nothing is imported.

    >>> is_user_encoder("mine.py:encode"), is_user_encoder("hf:facebook/dinov2-small")
    (True, False)
    """
    return not name.startswith(("hf:", "timm:")) and split_spec(name) is not None


def user_encoder(name: str, *, image_side: int | None, device: torch.device) -> UserEncoder:
    """Return a user-defined encoder, tried out on two examples.

    Args:
        name: ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION`` (the current folder is searched first).
        image_side: side of the images that it is tried out on; None for 224.
        device: the device of an nn.Module and its images; a function gets images on the CPU.

    Raises:
        InputError: no such file, module or function; another kind of object; an error in the user's code
            (with its line); results other than (B, D) finite numbers.
    """
    with importable(name):
        function = _function(find(name, "encoder"), name)
    of = TEXTS if "texts" in _required(function, name) else IMAGES
    about: dict[str, Any] = {}
    if (file := code_file(name)) is not None:
        about["code"] = file_digest(file)
    if isinstance(function, nn.Module):
        function = function.eval().to(device)
        about["weights"] = weights_digest(function)
    else:
        device = torch.device("cpu")
    return UserEncoder(name, of, about, function, device, image_side or 224)


class UserEncoder(FrozenEncoder):
    """A user's function of a batch.

    Args:
        name, of, about: see `FrozenEncoder`.
        function: from a batch to (B, D).
        device: where it gets images.
        side: of the images that it is tried out on.
    """

    def __init__(
        self,
        name: str,
        of: str,
        about: dict[str, Any],
        function: Callable[[Any], Any],
        device: torch.device,
        side: int,
    ) -> None:
        super().__init__(name, of, about, 0)
        self.function, self.device = function, device
        self.dimension = self.identity["dimension"] = self._tried(side)

    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        """Return the features of a batch, float32 (B, D)."""
        given = batch.to(self.device) if isinstance(batch, Tensor) else list(batch)
        with importable(self.name), torch.inference_mode():
            try:
                made = self.function(given)
            except (Exception, SystemExit) as error:
                if isinstance(error, MemoryError):
                    raise
                raise failed(self.name, "encoder", error) from error
        return self._checked(made, len(batch))

    def _checked(self, made: Any, count: int) -> Tensor:
        """Return a result as float32 (B, D) on the CPU."""
        if isinstance(made, np.ndarray) and made.dtype.kind in "fiu":
            made = torch.from_numpy(np.ascontiguousarray(made))
        wanted = f"({count}, {self.dimension or 'D'})"
        if not isinstance(made, Tensor):
            raise InputError(
                f"the encoder {self.name!r} returned a {type(made).__name__}, expected a tensor or an array "
                f"{wanted}: one row of features per example"
            )
        fits = made.ndim == 2 and len(made) == count and made.shape[1] > 0
        if not fits or made.shape[1] != (self.dimension or made.shape[1]):
            raise InputError(
                f"the encoder {self.name!r} returned {tuple(made.shape)}, expected {wanted}: one row of "
                "features per example"
            )
        return made.detach().float().cpu()

    def _tried(self, side: int) -> int:
        """Return the number of features of two examples: colored images, gray ones, or texts."""
        if self.of == TEXTS:
            return int(self.encode(["a text", "another text"]).shape[1])
        try:
            return int(self.encode(torch.zeros(2, 3, side, side, dtype=torch.uint8)).shape[1])
        except InputError as error:
            try:
                return int(self.encode(torch.zeros(2, 1, side, side, dtype=torch.uint8)).shape[1])
            except InputError:
                raise error from None


def _function(found: Callable[..., Any], name: str) -> Callable[[Any], Any]:
    """Return the function of a batch: the object itself, or what it returns when called without arguments."""
    if not isinstance(found, nn.Module) and not _required(found, name):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise failed(name, "encoder", error) from error
    if not callable(found):
        raise InputError(f"the encoder {name!r} is a {type(found).__name__}, expected {EXPECTED}")
    if len(_required(found, name)) != 1:
        raise InputError(
            f"the encoder {name!r} requires {', '.join(_required(found, name)) or 'no arguments'}; expected "
            f"{EXPECTED}"
        )
    return found


def _required(function: Callable[..., Any], name: str) -> list[str]:
    """Return the names of the arguments that have no default."""
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):  # some functions written in C
        raise InputError(f"{name!r} has no signature; expected a function written in Python") from None
    # nn.Module's own __init__ accepts anything by its signature
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
