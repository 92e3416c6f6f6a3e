"""Walk through the README's section "Your own data" as a new user: every command, its seconds, and a stop.

    python benchmarks/walk.py --cifar10 FOLDER --human cifar10n.parquet --images 3000

The script makes the files that the section names: photos/ (one folder per class, JPEG files labeled by one
annotator of CIFAR-10N), new-photos/, customers.csv and new-customers.csv. It runs the section's commands as
they are written, in its order; `noisylabels review` is left running while the 20 labels of lowest quality are
decided. Then it audits photos/ again, stops the audit half-way (SIGINT, then SIGKILL) and resumes it: what a
stop costs is the CPU time of both commands beyond that of the audit without a stop. Without --cifar10, the
photographs are synthetic. Writes walk-MACHINE.json and .md into results/benchmarks.
"""

from __future__ import annotations

import csv
import json
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from sklearn.datasets import make_classification

import noisylabels as nl
from noisylabels.bench.machine import ResultFolder, load, processor
from noisylabels.core.rng import uniforms

README = Path(__file__).parents[1] / "README.md"
DECIDED = 20


@dataclass
class Options(ResultFolder):
    """Choose what to walk through and where the results go."""

    cifar10: Path | None = None
    """CIFAR-10 in a form that `noisylabels train --data` reads"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet; its first annotator labels the photographs"""
    images: int = 3000
    """number of photographs"""
    rows: int = 3000
    """number of rows of customers.csv"""
    stop_after: float = 0.5
    """share of the audit's seconds after which it is stopped"""
    epochs: int | None = None
    """epochs in place of those of the commands, for a quick test of this script"""


def photographs(root: Path, options: Options) -> float:
    """Write photos/ and new-photos/ and return the share of wrong labels in photos/."""
    n = options.images
    if options.cifar10 is None or options.human is None:
        rng = np.random.default_rng(0)
        names, true = ("cat", "dog", "fox"), rng.integers(0, 3, n + 20)
        pixels = (rng.integers(0, 90, (n + 20, 32, 32, 3)) + 70 * true[:, None, None, None]).astype("uint8")
        given = np.where(rng.random(n + 20) < 0.15, rng.integers(0, 3, n + 20), true)
    else:
        train, _ = nl.load(str(options.cifar10))
        noisy = nl.corrupt(
            train.labels,
            f"human:{options.human}@random1",
            class_names=train.class_names,
            ids=train.ids,
        )
        chosen = np.argsort(uniforms(len(train), 0, "walk"))[: n + 20]
        names, true, given = train.class_names, noisy.true[chosen], noisy.given[chosen]
        pixels = train.images[chosen].permute(0, 2, 3, 1).numpy()
    for i, (picture, label) in enumerate(zip(pixels, given, strict=True)):
        place = root / "photos" / names[label] if i < n else root / "new-photos"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"IMG_{i:05d}.jpg", quality=95)
    return float((given[:n] != true[:n]).mean())


def customers(root: Path, rows: int) -> None:
    """Write customers.csv, a fifth of whose labels are wrong, and new-customers.csv."""
    X, y = make_classification(rows + 20, 12, n_informative=6, class_sep=1.2, random_state=0)
    rng = np.random.default_rng(0)
    region = np.array(["north", "south", "east"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 1)]
    given = np.where(rng.random(len(y)) < 0.2, 1 - y, y)
    heading = [*(f"feature {k}" for k in range(12)), "region"]
    for name, part in (("customers", slice(0, rows)), ("new-customers", slice(rows, None))):
        with (root / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*heading, *(["churned"] if name == "customers" else [])])
            for x, place, label in zip(X[part].round(4), region[part], given[part], strict=True):
                answer = ["yes" if label else "no"] if name == "customers" else []
                writer.writerow([*x.tolist(), place, *answer])


def commands() -> list[str]:
    """Return the commands of the README's section "Your own data"."""
    section = README.read_text().split("## Your own data")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@dataclass(frozen=True)
class Done:
    """A finished command: its exit status, output, seconds, and CPU seconds of it and its children."""

    status: int
    output: str
    seconds: float
    cpu_seconds: float


def run(command: str, folder: Path, options: Options, stop: tuple[float, int] | None = None) -> Done:
    """Run a command in a folder; `stop` sends a signal after so many seconds."""
    words = shlex.split(command)[1:]
    if options.epochs is not None and words[0] in ("audit", "train"):
        words = [*_without_epochs(words), "--epochs", str(options.epochs)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-m", "noisylabels", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if stop is not None:
        try:
            process.wait(stop[0])
        except subprocess.TimeoutExpired:
            process.send_signal(stop[1])
    output = process.communicate()[0].replace(str(folder), ".")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(process.returncode, output, time.perf_counter() - began, used)


def _without_epochs(words: list[str]) -> list[str]:
    if "--epochs" not in words:
        return words
    at = words.index("--epochs")
    return words[:at] + words[at + 2 :]


def review(command: str, folder: Path) -> Done:
    """Start the review, accept the suggestions of the labels of lowest quality, and stop it."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "noisylabels", *shlex.split(command)[1:], "--no-browser"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        base, _, token = address.partition("/?token=")
        opener = urllib.request.build_opener()
        opener.addheaders = [("Authorization", f"Bearer {token}")]
        listing = json.load(opener.open(f"{base}/api/audit"))
        for number, position in enumerate(listing["index"][:DECIDED]):
            event = {"event": f"walk-{number:08d}", "index": position, "action": "suggested"}
            body = json.dumps(event).encode()
            headers = {"content-type": "application/json", "X-NoisyLabels": "review"}
            opener.open(urllib.request.Request(f"{base}/api/decide", body, headers)).read()
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[0]
    return Done(process.returncode, rest, time.perf_counter() - began, 0.0)


def stopped(folder: Path, options: Options, whole: Done) -> list[dict[str, Any]]:
    """Stop the audit of photos/ by each signal, resume it, and return what each stop cost."""
    rows = []
    for number in (signal.SIGINT, signal.SIGKILL):
        command = f"noisylabels audit photos/ --out {number.name.lower()}"
        first = run(command, folder, options, (options.stop_after * whole.seconds, number))
        second = run(command, folder, options)
        same = (folder / number.name.lower() / "labels.csv").read_bytes()
        rows.append(
            {
                "signal": number.name,
                "stopped after": first.seconds,
                "status": first.status,
                "last line": (first.output.strip().splitlines() or [""])[-1],
                "resumed in": second.seconds,
                "lost CPU seconds": first.cpu_seconds + second.cpu_seconds - whole.cpu_seconds,
                "same labels.csv": same == (folder / "photos-audit" / "labels.csv").read_bytes(),
            }
        )
    return rows


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"{result['images']:,} photographs ({result['photographs']}), {100 * result['wrong']:.1f} % of their "
        f"labels wrong; {result['rows']:,} rows of customers.csv, 20.0 % wrong in expectation. "
        f"{result['machine']}; load {result['load']:.1f} before.",
        "",
        "| command | seconds | CPU seconds | its first line |",
        "|---|---:|---:|---|",
    ]
    for row in result["commands"]:
        shown = (row["output"].strip().splitlines() or [""])[0][:160].replace("|", "/")
        lines.append(f"| `{row['command']}` | {row['seconds']:.0f} | {row['cpu_seconds']:.0f} | {shown} |")
    lines += ["", "| stop | after | lost CPU seconds | same result |", "|---|---:|---:|---|"]
    for row in result["stops"]:
        lines.append(
            f"| {row['signal']} | {row['stopped after']:.0f} s | {row['lost CPU seconds']:.0f} | "
            f"{'yes' if row['same labels.csv'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    machine = options.machine or processor()
    result: dict[str, Any] = {
        "machine": machine,
        "load": load(),
        "images": options.images,
        "rows": options.rows,
        "photographs": "synthetic" if options.cifar10 is None else "cifar10-jpeg, CIFAR-10N random1",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["wrong"] = photographs(folder, options)
        customers(folder, options.rows)
        result["commands"] = []
        audit: Done | None = None
        for command in commands():
            serves = command.startswith("noisylabels review") and "--export" not in command
            done = review(command, folder) if serves else run(command, folder, options)
            audit = audit or done  # the first command
            result["commands"].append({"command": command, **vars(done)})
            if done.status != 0 and not serves:
                raise SystemExit(f"{command} ended with status {done.status}:\n{done.output}")
        assert audit is not None
        result["stops"] = stopped(folder, options, audit)
    options.keep("walk", result, table(result), device=processor())


if __name__ == "__main__":
    main(tyro.cli(Options))
