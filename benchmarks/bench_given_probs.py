"""Measure the audit of given probabilities beside cleanlab in one process, and its memory on a large file.

    python benchmarks/bench_given_probs.py            # 50,000 x 10, in memory
    python benchmarks/bench_given_probs.py --memory   # and 1,000,000 x 1,000 from a mapped file of 4 GB

Writes given-probs-MACHINE.json and .md into results/benchmarks. The audit estimates the noise rate and the
transition matrix with 95 % intervals, scores and flags labels, and suggests others; cleanlab's
`find_label_issues` flags labels. Rounds alternate, so that other load on the machine affects both alike. The
first round of each, which imports modules, is left out. Memory is the peak of anonymous memory (RssAnon) of a
process of its own, which also holds PyTorch; pages of the file are not part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.files import read_json

INSTALL = "cleanlab is not installed; for its rows: pip install cleanlab==2.9.0"
BLOCK = 10_000  # rows that are drawn once and repeated in the large file


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    rounds: int = 9
    """repetitions"""
    examples: int = 50_000
    """examples in memory"""
    classes: int = 10
    """their classes"""
    memory: bool = False
    """also audit a large memory-mapped file"""
    mapped_examples: int = 1_000_000
    """examples of the large file"""
    mapped_classes: int = 1_000
    """classes of the large file"""
    mapped: Path | None = None
    """audit this folder's probs.npy and labels.npy and print seconds and memory (what --memory starts)"""


def problem(n: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, a fifth of them wrong, and float32 probabilities of a fairly good model."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, K, n)
    given = np.where(rng.random(n) < 0.2, (true + rng.integers(1, K, n)) % K, true)
    z = rng.standard_normal((n, K), dtype=np.float32) * np.float32(1.2)
    z[np.arange(n), true] += 4 + np.log(K / 10)
    p = np.exp(z)
    return given, p / p.sum(axis=1, keepdims=True)


def beside_cleanlab(options: Options) -> dict[str, Any]:
    """Return the seconds per round of the audit and of cleanlab's find_label_issues."""
    labels, probs = problem(options.examples, options.classes)
    probs = probs.astype(np.float64)
    probs /= probs.sum(axis=1, keepdims=True)
    calls: dict[str, Callable[[], Any]] = {"noisylabels": lambda: nl.audit_labels(labels=labels, probs=probs)}
    versions = {"numpy": np.__version__}
    try:
        import cleanlab
        from cleanlab.filter import find_label_issues

        versions["cleanlab"] = cleanlab.__version__
        calls["cleanlab"] = lambda: find_label_issues(labels, probs)
        calls["cleanlab, n_jobs=1"] = lambda: find_label_issues(labels, probs, n_jobs=1)
    except ImportError:
        print(INSTALL)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {"versions": versions, "seconds": seconds}


def write_mapped(folder: Path, n: int, K: int) -> None:
    """Write probs.npy, float32 (n, K), and labels.npy."""
    probs = np.lib.format.open_memmap(folder / "probs.npy", "w+", np.float32, (n, K))
    block, labels = min(BLOCK, n), []
    given, p = problem(block, K)
    rng = np.random.default_rng(1)
    for start in range(0, n, block):
        count = min(block, n - start)
        probs[start : start + count] = p[:count]
        labels.append(np.where(rng.random(count) < 0.05, rng.integers(0, K, count), given[:count]))
    probs.flush()
    np.save(folder / "labels.npy", np.concatenate(labels))


def anonymous() -> int:
    """Return the anonymous memory of this process in bytes, 0 if Linux does not report it."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("RssAnon")), 0)


@contextmanager
def watched(found: dict[str, float], name: str) -> Iterator[None]:
    """Add seconds and the peak of memory of a block, above that before it."""
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began
        done.set()
        thread.join()
    found[f"{name}_seconds"] = seconds
    found[f"{name}_bytes"] = max(peak, anonymous()) - before


def audit_mapped(folder: Path) -> None:
    """Audit the files of `write_mapped` and write mapped.json: seconds and bytes."""
    labels = np.load(folder / "labels.npy")
    nl.audit_labels(labels=[0, 1, 1], probs=[[0.5, 0.5]] * 3)  # imports
    before, cpu, peak = anonymous(), time.process_time(), dict[str, float]()
    with watched(peak, "audit"):
        found = nl.audit_labels(labels=labels, probs=folder / "probs.npy")
    made = {
        "seconds": peak["audit_seconds"],
        "cpu_seconds": time.process_time() - cpu,
        "before_bytes": before,
        "peak_bytes": before + peak["audit_bytes"],
    }
    (folder / "mapped.json").write_text(json.dumps(made | {"rate": found.summary["rate"]}))


def mapped(options: Options) -> dict[str, Any]:
    """Return seconds and peak anonymous memory of the audit of a large file, in a process of its own."""
    n, K = options.mapped_examples, options.mapped_classes
    with tempfile.TemporaryDirectory() as name:
        if shutil.disk_usage(name).free < 5 * n * K:
            sys.exit(f"{name} has too little space for {4 * n * K:,} bytes; set TMPDIR to another folder")
        write_mapped(Path(name), n, K)
        subprocess.run([sys.executable, __file__, "--mapped", name], check=True)
        made: dict[str, Any] = read_json(Path(name) / "mapped.json")
    return {"examples": n, "classes": K, "file_bytes": 4 * n * K, **made}


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{result['examples']:,} examples, {result['classes']} classes, in memory. Seconds, median of "
        f"{result['rounds']} rounds (quartiles), in one process. {result['processor']}, {result['cores']} "
        f"cores, {versions}; load {result['load'][0]:.1f} before, {result['load'][1]:.1f} after.",
        "",
        "| call | seconds | noisylabels takes |",
        "|---|---:|---:|",
    ]
    ours = result["seconds"]["noisylabels"]
    for name, each in result["seconds"].items():
        low, median, high = statistics.quantiles(each, n=4) if len(each) > 1 else 3 * each
        ratio = statistics.median(a / b for a, b in zip(ours, each, strict=True))
        lines.append(f"| {name} | {median:.3f} ({low:.3f}-{high:.3f}) | {ratio:.2f} times |")
    if (large := result.get("mapped")) is not None:
        peak, before = (round(large[name] / 2**20) for name in ("peak_bytes", "before_bytes"))
        lines += [
            "",
            f"{large['examples']:,} x {large['classes']:,} float32, a file of "
            f"{large['file_bytes'] / 1e9:.1f} GB: {large['seconds']:.0f} s ({large['cpu_seconds']:.0f} s of "
            f"CPU), {peak:,} MiB of anonymous memory at most, {before:,} MiB before the audit.",
        ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.mapped is not None:
        audit_mapped(options.mapped)
        return
    before = load()
    found = beside_cleanlab(options)
    result = {
        "examples": options.examples,
        "classes": options.classes,
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "rounds": options.rounds,
        **found,
    }
    result |= {"load": [before, load()]}
    if options.memory:
        result["mapped"] = mapped(options)
    options.keep("given-probs", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
