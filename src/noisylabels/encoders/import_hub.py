"""Import transformers where it is needed, and silence it while it reads a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from noisylabels.core.optional import import_optional


def import_transformers(name: str) -> Any:
    """Return the module transformers, or raise an `InputError` that says how to install it."""
    return import_optional(
        "transformers",
        f"the encoder {name!r} needs transformers, which is not installed: pip install transformers",
    )


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
