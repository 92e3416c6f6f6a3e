"""User-defined models: ``module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.user_code import canonical_spec, failed, find, importable, split_spec

ARGUMENTS = ("channels", "image_size", "num_classes", "width", "seed")
"""The arguments that a function may have, by name."""


def build_user_model(spec: str, **offered: Any) -> nn.Module:
    """Return the model that the function `spec` builds from those arguments in `offered` that it names.

    Args:
        spec: ``module:function`` (the current folder is searched first), or ``file.py:function``.
        offered: `ARGUMENTS`, by name.

    Raises:
        InputError: no such module, file or function; a required parameter that is not offered; a width other
            than 1 that the function does not use; an error in the user's code (with its line); a result
            other than an nn.Module.
    """
    canonical_user_model(spec)
    with importable(spec):
        function = find(spec, "model")
        given = _arguments(function, spec, offered)
        try:
            model = function(**given)
        except (Exception, SystemExit) as error:
            raise failed(spec, "model", error) from error
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InputError(f"the model {spec!r} returned {what}, expected an nn.Module")
    return model


def check_user_model(spec: str) -> None:
    """Raise the `InputError` that `build_user_model` would raise for a missing module or function."""
    canonical_user_model(spec)
    with importable(spec):
        find(spec, "model")


def canonical_user_model(spec: str) -> str:
    """Return the canonical spelling of ``module:function`` or ``file.py:function``, importing nothing."""
    if split_spec(spec) is None:
        raise InputError(
            f"the model {spec!r} cannot be parsed; expected a name of `noisylabels list models`, "
            "mlp:SIZE,SIZE, timm:NAME, MODULE:FUNCTION or FILE.py:FUNCTION"
        )
    return canonical_spec(spec)


def _arguments(function: Callable[..., Any], spec: str, offered: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments in `offered` that the function accepts by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C
        raise InputError(f"{spec!r} has no signature; expected a function written in Python") from None
    by_name = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    # nn.Module's own __init__ accepts anything by its signature, and nothing in fact
    bare = isinstance(function, type) and function.__init__ is nn.Module.__init__  # type: ignore[misc]
    everything = not bare and any(p.kind is p.VAR_KEYWORD for p in parameters)
    given = {name: value for name, value in offered.items() if everything or name in by_name}
    unknown = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in given
    ]
    if unknown:
        raise InputError(
            f"the model {spec!r} requires {', '.join(unknown)}; a function gets those of "
            f"{', '.join(ARGUMENTS)} that it names, by keyword, and needs defaults for all others"
        )
    if "width" not in given and offered.get("width", 1.0) != 1.0:
        raise InputError(
            f"the model {spec!r} has no argument width, but --width is {offered['width']:g}; leave that out"
        )
    return given
