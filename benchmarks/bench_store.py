"""Measure what a study at a URL costs against one in a folder, per cell and for its status.

    python benchmarks/bench_store.py --urls s3://bucket/bench

Writes store-MACHINE.json and .md into results/benchmarks. Without --urls it measures a folder by file://. For
a server of S3's protocol on this machine:

    make .s3/ready
    .s3/bin/python .s3/bin/moto_server -p 5000 & curl -X PUT http://127.0.0.1:5000/bucket
    export AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b
    export PYTHONPATH=.s3/client

Cells run one after the other in this process. Each round runs the same cells in a folder and at every URL, in
turns. The status of large studies is measured on a store in memory, which answers at once: requests are
counted, and seconds are those of this program alone.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.process import limit_threads
from noisylabels.study.cell_list import entries
from noisylabels.study.grid import Cell, from_table
from noisylabels.study.objects import Entry, Objects
from noisylabels.study.remote import RemoteStore, open_store
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store

FIXED = {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2, "lr": 0.05}
PAGE = 1000  # objects per request of a listing, as in S3
KINDS = ("put", "list", "get", "delete")
SMALL = ("config.json", "environment.json", "history.jsonl", "labels.parquet", "model.safetensors")


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    urls: tuple[str, ...] = ()
    """stores to measure, beside file://"""
    cells: int = 6
    """cells per round"""
    rounds: int = 5
    """rounds, after one that is not counted"""
    sizes: tuple[int, ...] = (324, 100_000)
    """numbers of cells of the studies whose status is read"""


class Silent:
    """A view that shows nothing."""

    def begun(self, cell: Cell) -> None:
        """Do nothing."""

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """End where a cell is not done."""
        if answer["status"] not in ("done", "found"):
            raise SystemExit(f"{cell.name}: {answer}")

    def tick(self) -> None:
        """Do nothing."""


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def per_cell(options: Options, folder: Path) -> dict[str, dict[str, Any]]:
    """Return, per place, seconds per cell by round, and the requests per cell."""
    cells = from_table({"fixed": FIXED, "axes": {"seed": list(range(options.cells))}}, "s").cells(
        {"device": "cpu"}
    )
    places = {"a folder": None, "file://": (folder / "files").as_uri()}
    places |= {url.partition("://")[0] + "://": url for url in options.urls}
    found: dict[str, dict[str, Any]] = {place: {"seconds": [], "requests": {}} for place in places}
    for number in range(options.rounds + 1):
        for place, url in places.items():
            if url is None:
                store: Store = Store(folder / "folder" / str(number))
                took = seconds_of(lambda store=store: carry_out_all(store, cells, Silent()))
            else:
                store = open_store(f"{url}/{time.time_ns()}")
                assert isinstance(store, RemoteStore)
                store.note("", cells)
                before = store.objects.requests.copy()
                took = seconds_of(lambda store=store: carry_out_all(store, cells, Silent()))
                asked = store.objects.requests - before
                found[place]["requests"] = {kind: count / len(cells) for kind, count in asked.items()}
                store.close()
            if number:
                found[place]["seconds"].append(took / len(cells))
    return found


class InMemory:
    """A store of finished cells that answers at once, and counts a request per page of a listing."""

    def __init__(self, cells: list[Cell], result: dict[str, Any]) -> None:
        self.content = {
            f"{cell.name}/result.json": json.dumps(result | {"run_id": cell.run_id}).encode()
            for cell in cells
        }
        self.content["study.json"] = json.dumps({"title": "", "cells": entries(cells)}).encode()
        self.listed = {name: Entry(len(content), 0.0) for name, content in self.content.items()}
        self.listed |= {f"{cell.name}/{name}": Entry(1000, 0.0) for cell in cells for name in SMALL}
        self.requests: Counter[str] = Counter()

    def find(self, under: str) -> dict[str, Entry]:
        """Return all objects."""
        self.requests["list"] += math.ceil(len(self.listed) / PAGE)
        return dict(self.listed)

    def get(self, name: str, path: Path) -> None:
        """Write an object to a file."""
        self.requests["get"] += 1
        path.write_bytes(self.content[name])


def status_of(size: int, folder: Path) -> dict[str, Any]:
    """Return requests and seconds of the status of a finished study, the first and a later one."""
    table = {"fixed": FIXED, "axes": {"seed": list(range(size))}}
    cells = from_table(table, "s").cells({"device": "cpu"})
    one = Store(folder / "one")
    carry_out_all(one, cells[:1], Silent())
    files = InMemory(cells, json.loads((one.path(cells[0]) / "result.json").read_bytes()))
    found: dict[str, Any] = {"cells": size, "objects": len(files.listed)}
    for which in ("first", "later"):
        files.requests.clear()
        store = RemoteStore(folder / f"status-{size}", Objects("memory://status", files))  # type: ignore[arg-type]

        def status(store: RemoteStore = store) -> None:
            done = sum(store.state(cell).state == "done" for cell in store.noted()[1])
            assert done == size

        found[which] = {"seconds": seconds_of(status), "requests": dict(files.requests)}
    return found


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    base = result["cells"]["a folder"]["seconds"]
    lines = [
        f"Small runs of {FIXED['epochs']} epochs, one after the other: seconds per cell, median of "
        f"{result['rounds']} rounds of {result['per_round']} cells (lowest to highest). "
        f"{result['processor']}, {result['cores']} cores, load {result['load'][0]:.1f} before, "
        f"{result['load'][1]:.1f} after.",
        "",
        "| study in | seconds per cell | more than in a folder | put | list | get | delete |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for place, row in result["cells"].items():
        took = row["seconds"]
        more = statistics.median(a - b for a, b in zip(took, base, strict=True))
        asked = [f"{row['requests'].get(kind, 0):g}" for kind in KINDS]
        lines.append(
            f"| {place} | {statistics.median(took):.3f} ({min(took):.3f}-{max(took):.3f}) | "
            f"{'' if row['seconds'] is base else f'{more:+.3f}'} | {' | '.join(asked)} |"
        )
    lines += [
        "",
        f"`noisylabels study status` of a finished study: requests, listings in pages of {PAGE:,} objects, "
        "and seconds of this program without the network.",
        "",
        "| cells | objects | first: list | get | seconds | later: list | get | seconds |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["status"]:
        parts = [f"{row['cells']:,}", f"{row['objects']:,}"]
        for which in ("first", "later"):
            asked = row[which]["requests"]
            parts += [f"{asked['list']:,}", f"{asked['get']:,}", f"{row[which]['seconds']:.1f}"]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    before = load()
    limit_threads()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NOISYLABELS_CACHE"] = f"{name}/cache"
        result = {
            "processor": processor(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "rounds": options.rounds,
            "per_round": options.cells,
            "urls": list(options.urls),
            "cells": per_cell(options, Path(name)),
            "status": [status_of(size, Path(name)) for size in options.sizes],
        }
    options.keep("store", result | {"load": [before, load()]}, table(result | {"load": [before, load()]}))


if __name__ == "__main__":
    main(tyro.cli(Options))
