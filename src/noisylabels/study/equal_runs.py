"""Cells whose runs are equal to the last bit, because their losses are: one runs, the others are copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.core.files import atomic_replace, read_json, remove_file, write_json
from noisylabels.experiment.config import NOT_IDENTITY
from noisylabels.experiment.folder import FILES, empty_folder, remove_leftovers
from noisylabels.losses.categories import simplest
from noisylabels.study.grid import Cell
from noisylabels.study.store import Store

_COPIED = tuple(name for name in FILES if not name.endswith(".json") and name != "checkpoint.pt")
"""Files of a run that do not name its loss; method.json is copied beside them."""


@dataclass
class EqualCells:
    """The cells of a study whose runs are equal.

    Args:
        groups: name of a cell -> the cells whose runs are equal to its own, itself included, in order; cells
            without such another one are missing.
    """

    groups: Mapping[str, Sequence[Cell]] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> EqualCells:
        """Find the cells that differ in the loss only, and whose losses are equal by `simplest`."""
        found: dict[str, list[Cell]] = {}
        for cell in cells:
            if (loss := _provable(cell)) is not None:
                settings = to_dict(cell.config, NOT_IDENTITY) | {"loss": loss}
                found.setdefault(repr(sorted(settings.items())), []).append(cell)
        return cls({cell.name: group for group in found.values() if len(group) > 1 for cell in group})

    def others(self, cell: Cell) -> list[Cell]:
        """Return the other cells whose runs are equal to that of a cell."""
        return [each for each in self.groups.get(cell.name, ()) if each.name != cell.name]

    def first(self, cells: Sequence[Cell], store: Store) -> list[Cell]:
        """Return those of some unfinished cells that `scheduling.Work` runs if all of them finish."""
        if not store.copies_runs:
            return list(cells)
        run: dict[str, Cell] = {}
        for cell in cells:
            others = self.others(cell)
            done = any(store.state(other).state == "done" for other in others)
            if not done and not any(other.name in run for other in others):
                run[cell.name] = cell
        return list(run.values())


def _provable(cell: Cell) -> str | None:
    """Return the simplest form of a cell's loss; None for user-defined code and a loss chosen in the run."""
    loss = str(cell.config.loss)
    if ":" in loss or "auto" in loss:
        return None
    try:
        return simplest(loss)
    except InputError:
        return None


def copy_from_equal(store: Store, cell: Cell, equal: EqualCells) -> str:
    """Copy the finished run of an equal cell to a cell, if there is one; return the copy's message, or ""."""
    if not store.copies_runs or store.state(cell).state not in ("waiting", "begun"):
        return ""
    for other in equal.others(cell):
        if store.state(other).state == "done" and copy_run(store, other, cell):
            return note(other)
    return ""


def note(source: Cell) -> str:
    """Return the message of a copied run."""
    return f"copied from {source.run_id}: its loss is {source.config.loss}, to the last bit"


def copy_run(store: Store, source: Cell, cell: Cell) -> bool:
    """Write the folder of a cell from that of a finished, equal one; return whether it was written.

    The environment names the run that was copied, and the result has a message. The measured seconds are
    those of that run.
    """
    there, out = store.path(source), store.path(cell)
    with store.taking(cell, ("waiting", "begun")) as ours:
        if not ours:
            return False
        settings = {"loss": cell.config.loss, "out": str(out)}
        config: dict[str, Any] = read_json(there / "config.json") | settings
        mark = {"run_id": source.run_id, "loss": str(source.config.loss)}
        environment = read_json(there / "environment.json")
        mark = environment.get("copied", mark)  # the run that was run
        result = read_json(there / "result.json")
        # if killed here, the cell starts over: the result is written last
        empty_folder(out)
        write_json(out / "config.json", config)
        for name in (*_COPIED, "method.json"):
            if (there / name).exists():
                with atomic_replace(out / name) as temporary:
                    shutil.copyfile(there / name, temporary)
        write_json(out / "environment.json", environment | {"copied": mark})
        own = {"run_id": cell.run_id, "message": note(source)}
        own |= {"loss": cell.config.loss} if "loss" in result else {}
        write_json(out / "result.json", result | own)
        remove_file(out / "failure.json")
        remove_leftovers(out)
    return True
