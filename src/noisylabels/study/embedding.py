"""Embed the data sets of a study once, before several processes need their features."""

from __future__ import annotations

import time
from collections.abc import Sequence

from noisylabels.core.checks import InputError
from noisylabels.experiment import RunConfig
from noisylabels.experiment.data_state import READ_BY
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.study.grid import Cell

_OF_FEATURES = (*READ_BY, "device", "download")
"""Settings that determine which features are computed, and how."""


class _TimeIsUp(Exception):  # noqa: N818  not an error: the features so far are stored
    pass


class _Until(Silent):
    """Passes progress to another reporter until a time."""

    def __init__(self, reporter: Reporter, until: float | None) -> None:
        self.reporter, self.until = reporter, until

    def decoding(self, what: str, done: int, total: int) -> None:
        """Pass progress on; raise `_TimeIsUp` if the time is up."""
        if self.until is not None and time.monotonic() > self.until:
            raise _TimeIsUp
        self.reporter.decoding(what, done, total)


def distinct(cells: Sequence[Cell]) -> list[RunConfig]:
    """Return one configuration for each data set whose features the cells are trained on."""
    found = {
        tuple(getattr(cell.config, name) for name in _OF_FEATURES): cell.config
        for cell in cells
        if cell.config.features != "none"
    }
    return list(found.values())


def embed_once(
    cells: Sequence[Cell], reporter: Reporter | None = None, seconds: float | None = None
) -> float | None:
    """Compute the features of the cells' data sets, and share them with the processes of this machine.

    Whatever cannot be read or embedded is left to the cells, which report it. Noise that removes examples or
    adds foreign images makes other sets, which each cell takes from the store of features.

    Args:
        cells: the cells to run.
        reporter: receives the progress.
        seconds: the time that the study has.

    Returns:
        What is left of that time; None without a limit.
    """
    from noisylabels.encoders.embedding import embed_sets
    from noisylabels.encoders.shared import share
    from noisylabels.experiment import load_sets

    began = time.monotonic()
    watched = _Until(reporter or Silent(), None if seconds is None else began + seconds)
    for config in distinct(cells):
        try:
            parts = load_sets(config, watched)
            for part in embed_sets(parts, config.features, device=config.device, progress=watched.decoding):
                share(part)
        except InputError:
            continue
        except _TimeIsUp:
            break
    return None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
