"""A model of the user's own: ``module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.models.trial import one_line

ARGUMENTS = ("channels", "image_size", "num_classes", "width", "seed")
"""What a function may ask for, by the names of its parameters."""


def build_own(spec: str, **offered: Any) -> nn.Module:
    """Return what the function named by `spec` makes of those of `offered` that its signature names.

    Args:
        spec: ``module:function`` (the current folder is searched first), or ``file.py:function``.
        offered: `ARGUMENTS`, by name.

    Raises:
        InputError: no such module, file or function; a parameter that is not offered; a width that
            the function does not take; an error of its own (with its line); anything but an nn.Module.
    """
    with _importable(_folder(spec)):  # a function may import more when it is called
        function = _find(spec)
        given = _arguments(function, spec, offered)
        try:
            model = function(**given)
        except (Exception, SystemExit) as error:
            raise _failed(spec, error) from error
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InputError(f"the model {spec!r} returned {what}, expected an nn.Module")
    return model


def check_own(spec: str) -> None:
    """Raise the `InputError` that `build_own` would for a module or function that is not there."""
    with _importable(_folder(spec)):
        _find(spec)


def split_spec(spec: str) -> tuple[str, str]:
    """Return the module or file, and the function, of ``module:function``."""
    where, _, function = spec.rpartition(":")  # the last one: Windows has colons in paths
    dotted = all(part.isidentifier() for part in where.split("."))
    if not function.isidentifier() or not (where.endswith(".py") or dotted):
        raise InputError(
            f"the model {spec!r} cannot be read; expected a name of `noisylabels list models`, "
            "mlp:SIZE,SIZE, timm:NAME, MODULE:FUNCTION or FILE.py:FUNCTION"
        )
    return where, function


def _folder(spec: str) -> Path:
    where, _ = split_spec(spec)
    return Path(where).expanduser().resolve().parent if where.endswith(".py") else Path.cwd()


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Search `folder` first for modules, as `python FILE` does for the file's; afterwards no more."""
    importlib.invalidate_caches()  # the file may be younger than the last look
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _find(spec: str) -> Callable[..., Any]:
    """Import the module and return its function."""
    where, name = split_spec(spec)
    try:
        module = _from_file(spec, where) if where.endswith(".py") else importlib.import_module(where)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{where}.".startswith(f"{missing}."):
            raise InputError(
                f"there is no module {missing!r} for the model {spec!r}: neither in {Path.cwd()} nor where "
                "Python looks"
            ) from None
        raise _failed(spec, error) from error
    function = getattr(module, name, None)
    if function is None:
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(
            f"the model {spec!r}: {where} has no function {name!r}{did_you_mean(name, defined[:20])}"
        )
    if not callable(function):
        raise InputError(f"{spec!r} is a {type(function).__name__}, expected a function or a class")
    return function  # type: ignore[no-any-return]


def _from_file(spec: str, where: str) -> ModuleType:
    path = Path(where).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"there is no file {where} for the model {spec!r}")
    name = f"noisylabels_own_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise InputError(f"{where} cannot be imported")
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _arguments(function: Callable[..., Any], spec: str, offered: dict[str, Any]) -> dict[str, Any]:
    """Return those of `offered` that the function takes by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of those written in C
        raise InputError(f"{spec!r} has no signature; expected a function written in Python") from None
    by_name = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    # that of nn.Module itself takes anything in its signature, and nothing in truth
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
            f"the model {spec!r} wants {', '.join(unknown)}; a function is called with those of "
            f"{', '.join(ARGUMENTS)} that it names, by name, and the rest needs defaults"
        )
    if "width" not in given and offered.get("width", 1.0) != 1.0:
        raise InputError(
            f"the model {spec!r} takes no width, and --width is {offered['width']:g}; leave it out"
        )
    return given


def _failed(spec: str, error: BaseException) -> InputError:
    """Return the one line on an error of the user's code: its type, its words, its place."""
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        foreign = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<", __file__)
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(foreign)]
        file, line = (own or frames)[-1].filename, (own or frames)[-1].lineno
    # a syntax error's words end with its place, which follows anyway
    what = f"SyntaxError: {error.msg}" if isinstance(error, SyntaxError) else one_line(error)
    place = f" ({Path(file).name}, line {line})" if file and line else ""  # bytes that are no text have none
    return InputError(f"the model {spec!r} failed: {what}{place}")
