"""Walk from noisy photographs to a classifier with the README's commands, and judge each step by the truth.

    python benchmarks/walk_photographs.py PHOTOGRAPHS.parquet FRESH.parquet --human cifar10n.parquet

PHOTOGRAPHS and FRESH are the training and test images of CIFAR-10 as image Parquet. Each seed draws 3,000 of
the former, writes their JPEG bytes into a folder per class, labeled by the first annotator of CIFAR-10N, and
2,000 of the latter into new-photos/. Then it runs audit, review (its server, decisions and export), train and
predict, each in a process of its own and, at first, without stored features:

- given: the labels as they are;
- reviewed: the labels of lowest quality, 50 of them, decided by a reviewer who knows the truth;
- accepted: the suggestions of all flagged labels accepted;
- true: the true labels.

With --pixels 1, it also audits the photographs of one seed from pixels (--features none). Each finished seed
is saved, so you can interrupt the script and start it again. Writes walk-photographs.json and .md into
results/benchmarks.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
import walk
from sklearn.metrics import average_precision_score

from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.files import read_json, write_json

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WAYS = {
    "given": "as labeled",
    "reviewed": "the labels of lowest quality reviewed",
    "accepted": "all suggestions of flagged labels accepted",
    "true": "true labels",
}
GOALS = {"features": (0.7, 0.5), "pixels": (0.6, 0.25)}
"""Goals for the share of the flagged labels that are wrong, and of the wrong labels that are flagged."""


@dataclass
class Options:
    """Choose what to walk through and where the results go."""

    photographs: tyro.conf.Positional[Path]
    """Parquet file of the images to audit, in the order of CIFAR-10's training images"""
    fresh: tyro.conf.Positional[Path]
    """Parquet file of the images to predict"""
    human: Path
    """CIFAR-10N as Parquet"""
    seeds: int = 3
    """number of draws of photographs"""
    pixels: int = 1
    """number of draws that are audited from pixels"""
    images: int = 3000
    """photographs per draw"""
    new: int = 2000
    """fresh photographs per draw"""
    reviewed: int = 50
    """number of labels that the reviewer decides"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    cells: Path = Path("runs/walk-photographs")
    """folder for the finished draws"""


class Walk:
    """The files and commands of one draw."""

    def __init__(self, folder: Path, options: Options, seed: int) -> None:
        self.folder, self.options = folder, options
        self.commands: list[dict[str, Any]] = []
        rng = np.random.default_rng([seed, 19])
        names = pq.read_table(options.human, columns=["random_label1", "clean_label"])
        rows = rng.permutation(len(names))[: options.images]
        self.true: dict[str, str] = {}
        self.given: dict[str, str] = {}
        images = pq.read_table(options.photographs).column(0)
        for row in np.sort(rows).tolist():
            given, true = (CLASSES[names[key][row].as_py()] for key in ("random_label1", "clean_label"))
            name = f"{given}/IMG_{row:05d}.jpg"
            self._write(folder / "photos" / name, images[row])
            self.given[name], self.true[name] = given, true
        fresh = pq.read_table(options.fresh)
        self.fresh: dict[str, str] = {}
        for row in np.sort(rng.permutation(len(fresh))[: options.new]).tolist():
            self.fresh[f"new-photos/IMG_{row:05d}.jpg"] = CLASSES[fresh.column(1)[row].as_py()]
            self._write(folder / f"new-photos/IMG_{row:05d}.jpg", fresh.column(0)[row])

    @staticmethod
    def _write(path: Path, image: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image["bytes"].as_py())

    def run(self, command: str, name: str = "") -> str:
        """Run a command, record what it took under a name, if it has one, and return its output."""
        done = walk.run(command, self.folder, walk.Options())
        if done.status != 0:
            raise SystemExit(f"{command} ended with status {done.status}:\n{done.output}")
        if name:
            row = {"name": name, "command": command, "seconds": done.seconds, "cpu_seconds": done.cpu_seconds}
            self.commands.append(row | {"output": done.output})
            print(f"{done.seconds:6.0f} s {done.cpu_seconds:6.0f} CPU s  {name}", flush=True)
        return done.output

    def audit(self, out: str, more: str = "") -> dict[str, Any]:
        """Audit photos/ twice and return its summary and what it is worth."""
        command = f"noisylabels audit photos/{more} --out {out}"
        output = self.run(command, f"audit{more}")
        self.run(command, f"audit{more}, again")
        with (self.folder / out / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        summary = read_json(self.folder / out / "audit.json")
        wrong = np.array([self.true[row["id"]] != row["given"] for row in rows])
        right = np.array([self.true[row["id"]] == row["suggested"] for row in rows])
        flagged = np.array([row["flagged"].lower() in ("true", "1") for row in rows])
        score = np.array([float(row["score"]) for row in rows])
        lines = output.strip().splitlines()
        return {
            "said": next((line for line in lines if line.startswith("photos: ")), ""),
            "n": len(rows),
            "wrong": int(wrong.sum()),
            "rate": summary["rate"],
            "agreement": summary["agreement"],
            "average_precision": float(average_precision_score(wrong, -score)),
            "flagged": int(flagged.sum()),
            "flagged_wrong": int((flagged & wrong).sum()),
            "flagged_suggested_true": int((flagged & wrong & right).sum()),
            "lowest_wrong": int(wrong[: self.options.reviewed].sum()),
            "after": float(np.where(flagged, ~right, wrong).mean()),
            "expected": summary["expected"],
        }

    def correct(self, out: str, target: str, accept: bool) -> None:
        """Decide labels on the page's server as its keys do, and export the corrected labels."""
        process = subprocess.Popen(
            [sys.executable, "-m", "noisylabels", "review", out, "--no-browser"],
            cwd=self.folder,
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
            with (self.folder / out / "labels.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            count = listing["flagged"] if accept else self.options.reviewed
            for position, row in zip(listing["index"][:count], rows, strict=False):
                event: dict[str, Any] = {"event": f"walk-{position:08d}", "index": position}
                event |= {"action": "suggested"} if accept else self._known(row)
                headers = {"content-type": "application/json", "X-NoisyLabels": "review"}
                body = json.dumps(event).encode()
                opener.open(urllib.request.Request(f"{base}/api/decide", body, headers)).read()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()
        self.run(f"noisylabels review {out} --export {target}", "" if accept else "review --export")

    def _known(self, row: dict[str, str]) -> dict[str, Any]:
        if self.true[row["id"]] == row["given"]:
            return {"action": "keep"}
        return {"action": "chosen", "label": CLASSES.index(self.true[row["id"]])}

    def labels(self, name: str) -> list[str]:
        """Return the option of `train` that reads the labels of a name; write the file of the true ones."""
        if name == "true":
            lines = ["id,label", *(f"{key},{label}" for key, label in self.true.items())]
            (self.folder / "true.csv").write_text("\n".join(lines) + "\n")
        return [] if name == "given" else ["--labels", f"{name}.csv"]

    def accuracy(self, name: str) -> dict[str, Any]:
        """Train on the labels of a name and return the run's accuracy on fresh photographs."""
        train = shlex.join(
            ["noisylabels", "train", "--data", "photos/", *self.labels(name), "--out", f"runs/{name}"]
        )
        predict = f"noisylabels predict runs/{name} new-photos/ --out {name}-predicted.csv"
        said = self.run(train, f"train, {WAYS[name]}")
        self.run(predict, f"predict, {WAYS[name]}")
        if name == "given":
            self.run(train, f"train, {WAYS[name]}, again")
            self.run(predict, f"predict, {WAYS[name]}, again")
        with (self.folder / f"{name}-predicted.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(self.fresh)
        right = [self.fresh[row["image"]] == row["label"] for row in rows]
        found = {"accuracy": float(np.mean(right)), "said": said, "wrong": self._wrong(name)}
        return found | {"result": read_json(self.folder / "runs" / name / "result.json")}

    def _wrong(self, name: str) -> float:
        if name == "given":
            labels = self.given
        else:
            with (self.folder / f"{name}.csv").open(newline="") as file:
                labels = {row["id"]: row["label"] for row in csv.DictReader(file)}
        return float(np.mean([labels[key] != label for key, label in self.true.items()]))


def from_features(seed: int, options: Options) -> dict[str, Any]:
    """Walk through one draw from features."""
    before = load()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NOISYLABELS_CACHE"] = f"{name}/cache"
        here = Walk(Path(name), options, seed)
        audit = here.audit("photos-audit")
        shutil.copytree(here.folder / "photos-audit", here.folder / "accepted-audit")
        here.correct("photos-audit", "reviewed.csv", accept=False)
        here.correct("accepted-audit", "accepted.csv", accept=True)
        trained = {way: here.accuracy(way) for way in WAYS}
        return {
            "seed": seed,
            "load": [before, load()],
            "audit": audit,
            "trained": trained,
            "commands": here.commands,
        }


def from_pixels(seed: int, options: Options) -> dict[str, Any]:
    """Audit one draw from pixels."""
    before = load()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NOISYLABELS_CACHE"] = f"{name}/cache"
        here = Walk(Path(name), options, seed)
        audit = here.audit("photos-audit", " --features none")
        return {"seed": seed, "load": [before, load()], "audit": audit, "commands": here.commands}


def shown(values: list[float], digits: int = 1, scale: float = 100) -> str:
    """Return mean ± standard deviation."""
    spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * statistics.mean(values):.{digits}f}{spread}"


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    sets = [(kind, result[kind]) for kind in GOALS if result[kind]]
    loads = [value for _, rows in sets for row in rows for value in row["load"]]
    lines = [
        f"{result['images']:,} photographs (cifar10-jpeg, labels of CIFAR-10N, random1); "
        f"{result['new']:,} fresh ones. Mean ± standard deviation of n draws, in per cent. "
        f"{result['processor']}, {result['cores']} cores, {result['threads']} thread per command, "
        f"torch {result['torch']}; load {min(loads):.1f} to {max(loads):.1f}, so compare CPU seconds.",
        "",
        *_flags(sets, result["reviewed"]),
        "",
        *_rates(sets),
    ]
    if result["features"]:
        lines += ["", *_accuracies(result["features"], result)]
    return "\n".join([*lines, "", *_times(sets)]) + "\n"


def _flags(sets: list[tuple[str, list[dict[str, Any]]]], reviewed: int) -> list[str]:
    lines = [
        f"| audit from | n | average precision | wrong, of the {reviewed} of lowest quality | flagged labels "
        "| of them wrong (goal) | of the wrong labels flagged (goal) "
        "| suggestions right, of the flagged wrong labels |",
        f"|---|{'---:|' * 7}",
    ]
    for kind, rows in sets:
        audits = [row["audit"] for row in rows]
        precise, complete = (f"at least {100 * goal:.0f}" for goal in GOALS[kind])
        cells = [
            kind,
            str(len(rows)),
            shown([each["average_precision"] for each in audits]),
            shown([each["lowest_wrong"] / reviewed for each in audits]),
            shown([each["flagged"] for each in audits], 0, 1),
            f"{shown([each['flagged_wrong'] / max(1, each['flagged']) for each in audits])} ({precise})",
            f"{shown([each['flagged_wrong'] / each['wrong'] for each in audits])} ({complete})",
            shown([each["flagged_suggested_true"] / max(1, each["flagged_wrong"]) for each in audits]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rates(sets: list[tuple[str, list[dict[str, Any]]]]) -> list[str]:
    lines = [
        "| audit from, draw | labels wrong | estimated | interval | holds the truth "
        "| wrong after accepting all suggestions of flagged labels | expected before | expected after |",
        f"|---|{'---:|' * 7}",
    ]
    for kind, rows in sets:
        for row in rows:
            found, rate = row["audit"], row["audit"]["rate"]
            truth = found["wrong"] / found["n"]
            holds = "yes" if rate["low"] <= truth <= rate["high"] else "no"
            cells = [f"{kind}, {row['seed']}", shown([truth]), shown([rate["estimate"]])]
            cells += [f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}", holds, shown([found["after"]])]
            cells += [shown([found["expected"][when]]) for when in ("before", "after")]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _accuracies(rows: list[dict[str, Any]], result: dict[str, Any]) -> list[str]:
    lines = [
        "| trained on | n | labels wrong | model and loss chosen | accuracy on fresh photographs "
        "| difference from as labeled | accuracy that the run shows, on held-out labels |",
        f"|---|---:|---:|---|{'---:|' * 3}",
    ]
    for way, title in WAYS.items():
        found = [row["trained"][way] for row in rows]
        gains = [row["trained"][way]["accuracy"] - row["trained"]["given"]["accuracy"] for row in rows]
        title = title.replace("the labels", f"the {result['reviewed']} labels")
        results = [each["result"] for each in found]
        chosen = Counter(f"{each['model']} with {each['loss']}" for each in results)
        cells = [title, str(len(rows)), shown([each["wrong"] for each in found])]
        cells += ["; ".join(f"{name} ({count})" for name, count in chosen.most_common())]
        cells += [shown([each["accuracy"] for each in found]), "" if way == "given" else shown(gains)]
        cells += [shown([each["final"]["test_accuracy"] for each in results])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _times(sets: list[tuple[str, list[dict[str, Any]]]]) -> list[str]:
    lines = ["| command | n | seconds | CPU seconds |", "|---|---:|---:|---:|"]
    for _, rows in sets:
        for place, row in enumerate(rows[0]["commands"]):
            each = [other["commands"][place] for other in rows]
            again = ", again" if row["name"].endswith(", again") else ""
            cells = [f"`{row['command']}`{again}", str(len(each))]
            cells += [shown([one[key] for one in each], 0, 1) for key in ("seconds", "cpu_seconds")]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(options: Options) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "torch": torch.__version__,
        **{name: getattr(options, name) for name in ("images", "new", "reviewed")},
        "features": [],
        "pixels": [],
    }
    options.cells.mkdir(parents=True, exist_ok=True)
    todo = [("features", seed) for seed in range(options.seeds)]
    for kind, seed in todo[:1] + [("pixels", seed) for seed in range(options.pixels)] + todo[1:]:
        path = options.cells / f"{kind}-{options.images}-{options.new}-{options.reviewed}-{seed}.json"
        if not path.exists():
            print(f"{kind}, draw {seed}", flush=True)
            write_json(path, (from_features if kind == "features" else from_pixels)(seed, options))
        result[kind].append(read_json(path))
        keep(options.out, "walk-photographs", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
