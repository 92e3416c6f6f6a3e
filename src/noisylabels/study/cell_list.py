"""The list of a study's cells, and the record of a cell that could not be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from noisylabels.core.config import build, to_dict
from noisylabels.core.files import check_name
from noisylabels.core.schema import read_checked
from noisylabels.experiment import RunConfig
from noisylabels.experiment.documents import Config
from noisylabels.study.grid import OWN, Cell


class _Listed(TypedDict):
    axes: dict[str, str | float | bool]
    config: Config


class _Study(TypedDict):
    title: str
    cells: dict[str, _Listed]


def failure(cell: Cell, message: str, trace: str = "") -> dict[str, Any]:
    """Return the content of failure.json."""
    return {"run_id": cell.run_id, "message": message, "trace": trace, "config": to_dict(cell.config)}


def entries(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the entries of cells in a list of cells."""
    return {cell.name: {"axes": dict(cell.axes), "config": to_dict(cell.config, OWN)} for cell in cells}


def read_list(path: Path, remedy: str) -> dict[str, Any]:
    """Return the content of a list of cells, whose cells can be built."""
    found: dict[str, Any] = read_checked(path, _Study, remedy)
    for name, each in found["cells"].items():
        listed_cell(name, each["axes"], each["config"])
    return found


def listed_cell(name: str, axes: Mapping[str, Any], config: Mapping[str, Any]) -> Cell:
    """Return a cell from its entry in a list of cells."""
    return Cell(check_name(name, "cell"), axes, build(RunConfig, config), name.rpartition("-")[2])
