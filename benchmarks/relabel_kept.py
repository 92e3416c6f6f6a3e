"""Record which labels the audit of the method `relabel` keeps; method_tables.py makes the table.

    noisylabels study run benchmarks/studies/methods-digits.toml --only method=relabel
    python benchmarks/relabel_kept.py runs/methods-digits

Reads the audit (method.json) and the labels of every run of a study with `relabel` and cross entropy. A study
that was begun from an exported file has both for its own runs alone: name the folders of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from method_runs import NOISES, words

from noisylabels.core.files import write_json
from noisylabels.methods.relabel import likely_wrong
from noisylabels.report.tables import Cell, Number, Table

FILE = Path("results/methods/relabel-kept.json")
COLUMNS = ["labels right", "suggested class right", "kept", "right of these", "kept of the right ones"]


@dataclass
class Options:
    """Choose the runs and where their shares go."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """folders of studies"""
    out: Path = FILE
    """file of the shares"""


def shares(folder: Path) -> list[float]:
    """Return the values of `COLUMNS` for a run, in [0, 1]."""
    audit = torch.tensor(json.loads((folder / "method.json").read_text(encoding="utf-8"))["audit"])
    table = pq.read_table(folder / "labels.parquet", columns=["given", "true"])
    given, true = (table[name].to_numpy() for name in ("given", "true"))
    suggested = audit[:, 1].long()
    kept = ~likely_wrong(audit[:, 0], suggested, torch.tensor(given)).numpy()
    right = given == true
    both = (kept & right).sum()
    found = [right.mean(), (suggested.numpy() == true).mean(), kept.mean()]
    return [float(share) for share in (*found, both / kept.sum(), both / right.sum())]


def runs(folders: Sequence[Path]) -> Iterator[list[Any]]:
    """Yield noise, seed and shares of each run with `relabel` and cross entropy."""
    for path in sorted(path for folder in folders for path in folder.glob("*/method.json")):
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        if config["method"] == "relabel" and config["loss"] == "ce":
            yield [words(config["noise"]), config["seed"], *shares(path.parent)]


def kept_table(file: Path) -> Table:
    """Return the mean shares by noise."""
    found = json.loads(file.read_text(encoding="utf-8"))["runs"]
    rows: list[list[Cell]] = []
    for noise in NOISES:
        values = 100 * np.array([row[2:] for row in found if row[0] == noise])
        if len(values) > 1:
            means, deviations = values.mean(0), values.std(0, ddof=1)
            numbers = zip(means, deviations, strict=True)
            rows.append([noise, *(Number(float(m), float(d), n=len(values), digits=1) for m, d in numbers)])
    seeds = len({row[1] for row in found})
    return Table(
        "relabel-kept",
        "What the audit of relabel keeps",
        ["noise", *COLUMNS],
        rows,
        "The digits, mlp:512, cross entropy inside: per cent of the labels of a run, mean ± sample standard "
        f"deviation, n = {seeds}.",
    )


def main(options: Options) -> None:
    """Write the shares of every run."""
    columns = ["noise", "seed", *COLUMNS]
    write_json(options.out, {"columns": columns, "runs": list(runs(options.folders))})


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
