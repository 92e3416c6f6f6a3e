"""Import transformers where it is needed, and silence it while it reads a model."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from noisylabels.core.checks import InputError, one_line


def import_transformers(name: str) -> Any:
    """Return the module transformers, or raise an `InputError` that says how to install it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        if error.name == "transformers":
            raise InputError(
                f"the encoder {name!r} needs transformers, which is not installed: pip install transformers"
            ) from None
        raise InputError(f"transformers is installed but cannot be imported: {one_line(error)}") from None


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Silence the log and the progress bars of transformers."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
