"""Runs whose data, or other input files, were edited between them: these are never averaged or compared.

Settings and run ids hold names of files, not their content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylabels.experiment.data_state import READ_BY, state_of_run
from noisylabels.experiment.sets import state_now

if TYPE_CHECKING:
    from noisylabels.study.grid import Cell
    from noisylabels.study.store import CellState

Inputs = Mapping[tuple[str, ...], str]
"""Name of an input of a run -> the digest of its content, "" where it is unknown."""

DATA = "data"
_FILES = ("noise files", "encoder files", "method files", "code files")


def inputs_of(environment: Mapping[str, Any], config: Mapping[str, Any]) -> Inputs:
    """Return the inputs of a run: its data, and its files.

    The data are named by their file or folder, wherever that is, and by the settings of reading them.
    """
    reading = (str(config[name]) for name in READ_BY if name not in ("data", "data_root"))
    state = state_of_run(environment, config)
    found = {(DATA, Path(str(config["data"])).name, *reading): "/".join(state or ())}
    identity = environment.get("identity", {})
    return found | {(file,): digest for kind in _FILES for file, digest in identity.get(kind, {}).items()}


def same(inputs: Inputs, others: Inputs) -> bool:
    """Return whether no input is known to differ between two runs."""
    both = ((digest, others.get(name)) for name, digest in inputs.items())
    return all(a == b for a, b in both if a and b)


def versions(runs: Sequence[tuple[str, Inputs]], notes: list[str] | None = None) -> list[dict[str, int]]:
    """Return for each run the inputs of which there are several versions -> the number of its own.

    Versions are numbered from 1 as they appear. A run whose version is unknown, or that does not have the
    input, counts among those of the first; a run of other data has no version of these.

    Args:
        runs: folder or id of each run, for the note, and its inputs.
        notes: receives a line for each input with several versions.
    """
    found: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(dict)
    for run, inputs in runs:
        for name, digest in inputs.items():
            if digest:
                found[name].setdefault(digest, []).append(run)
    several = {name: having for name, having in found.items() if len(having) > 1}
    if notes is not None:
        notes += [_note(name, list(having.values())) for name, having in several.items()]
    return [
        {
            _label(name): 1 + (list(having).index(inputs[name]) if inputs.get(name) else 0)
            for name, having in several.items()
            if name in inputs or name[0] != DATA
        }
        for _, inputs in runs
    ]


def _note(name: tuple[str, ...], having: Sequence[Sequence[str]]) -> str:
    counts = [f"{_label(name)} {i} in {len(runs)}, such as {runs[0]}" for i, runs in enumerate(having, 1)]
    file = name[1] if name[0] == DATA else name[0]
    return f"{file} is not the same in all runs, which are kept apart: {'; '.join(counts)}"


def _label(name: tuple[str, ...]) -> str:
    return f"{name[0]} version"


def changed_data(cells: Sequence[Cell], states: Sequence[CellState], ran: set[str]) -> Iterator[str]:
    """Yield a line for each data set that has changed since finished cells of a study were run.

    If no cell was run now, the data are read.

    Args:
        cells: the cells of the study.
        states: their states.
        ran: the names of the cells that were run now.
    """
    sets = defaultdict(list)
    for cell, state in zip(cells, states, strict=True):
        if state.data is not None:
            sets[tuple(getattr(cell.config, name) for name in READ_BY)].append((cell, state.data))
    for group in sets.values():
        new = [state for cell, state in group if cell.name in ran]
        now = new[-1] if new else None if ran else state_now(group[0][0].config)
        before = [cell for cell, state in group if now not in (None, state)]
        if before:
            yield (
                f"{group[0][0].config.data} has changed since {len(before)} of the cells were run, such as "
                f"{before[0].name}; remove their folders to run them again, or give another --out"
            )
