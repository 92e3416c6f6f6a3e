"""User-defined code, named as ``package.module:name`` or ``path/to/file.py:name``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from noisylabels.core.checks import InputError, did_you_mean, one_line
from noisylabels.core.files import real_path


def split_spec(spec: str) -> tuple[str, str] | None:
    """Return the module or file and the name in it, or None if the text has another form.

    >>> split_spec("C:/nets/mine.py:build"), split_spec("mine:build"), split_spec("mlp:512")
    (('C:/nets/mine.py', 'build'), ('mine', 'build'), None)
    """
    where, _, name = spec.rpartition(":")  # the last one: Windows has colons in paths
    dotted = all(part.isidentifier() for part in where.split("."))
    return (where, name) if name.isidentifier() and (where.endswith(".py") or dotted) else None


def canonical_spec(spec: str) -> str:
    """Return a text that `split_spec` accepts with its path normalized; nothing is imported.

    >>> canonical_spec("./nets//mine.py:build")
    'nets/mine.py:build'
    """
    where, _, name = spec.rpartition(":")
    return f"{os.path.normpath(os.path.expanduser(where)) if where.endswith('.py') else where}:{name}"


@contextlib.contextmanager
def importable(spec: str, base: Path | None = None) -> Iterator[None]:
    """Import modules from the file's folder first, as `python FILE` does; for a module, from `base`.

    `base` is the current folder by default; the path of a file is relative to it.
    """
    where = spec.rpartition(":")[0]
    base = base or Path.cwd()
    folder = str(_path(where, base).parent if where.endswith(".py") else base)
    importlib.invalidate_caches()  # the file may be newer than the caches
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def find(spec: str, what: str, base: Path | None = None) -> Callable[..., Any]:
    """Import the module, or run the file, and return the object with the given name.

    Use this function and its result within `importable`: functions may import more when they are called.

    Args:
        spec: a text that `split_spec` accepts.
        what: "model" or the like, for messages.
        base: as for `importable`.

    Raises:
        InputError: the module, file or name does not exist (with the nearest name); the code raises an error
            (with its line); the object cannot be called.
    """
    where, _, name = spec.rpartition(":")
    try:
        if where.endswith(".py"):
            module = run_file(_file(spec, what, base or Path.cwd()))
        else:
            module = importlib.import_module(where)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{where}.".startswith(f"{missing}."):
            raise InputError(
                f"there is no module {missing!r} for the {what} {spec!r}: neither in {base or Path.cwd()} "
                "nor on Python's search path"
            ) from None
        raise failed(spec, what, error) from error
    found = getattr(module, name, None)
    if found is None:
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(
            f"the {what} {spec!r}: {where} has no function {name!r}{did_you_mean(name, defined[:20])}"
        )
    if not callable(found):
        raise InputError(f"{spec!r} is a {type(found).__name__}, expected a function or a class")
    return found  # type: ignore[no-any-return]


def code_file(spec: str, base: Path | None = None) -> Path | None:
    """Return the file that holds the code, or None if it cannot be found.

    This runs no code but, for ``a.b:name``, that of the package a.
    """
    where = spec.rpartition(":")[0]
    if where.endswith(".py"):
        path = _path(where, base or Path.cwd())
        return path if path.is_file() else None
    with importable(spec, base):
        try:
            found = importlib.util.find_spec(where)
        except Exception:  # no such package, or its import fails
            return None
    # a module that has been imported is found even when its file is gone
    origin = found.origin if found is not None and found.has_location else None
    return Path(origin) if origin and Path(origin).is_file() else None


def failed(spec: str, what: str, error: BaseException) -> InputError:
    """Return an `InputError` about an error in the user's code: its type, message and line."""
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        package = str(Path(__file__).parents[1]) + os.sep
        foreign = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<", package)
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(foreign)]
        file, line = (own or frames)[-1].filename, (own or frames)[-1].lineno
    # the message of a syntax error ends with its place, which follows anyway
    words = f"SyntaxError: {error.msg}" if isinstance(error, SyntaxError) else one_line(error)
    place = f" ({Path(file).name}, line {line})" if file and line else ""  # none for undecodable source
    return InputError(f"the {what} {spec!r} failed: {words}{place}")


def _path(where: str, base: Path) -> Path:
    return real_path(base / Path(where).expanduser())


def _file(spec: str, what: str, base: Path) -> Path:
    where = spec.rpartition(":")[0]
    if not (path := _path(where, base)).is_file():
        kind = "is a folder, expected a file" if path.is_dir() else "does not exist"
        raise InputError(f"there is no file {where} for the {what} {spec!r}: {path} {kind}")
    return path


def run_file(path: Path) -> ModuleType:
    """Run a Python file as a separate module and return the module; its errors propagate.

    Raises:
        InputError: the path is not a Python file.
    """
    name = f"noisylabels_own_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise InputError(f"{path} cannot be imported; expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module
    try:
        found.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module
