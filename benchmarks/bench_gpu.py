"""Measure epochs of the paper's network on a GPU, by launch mode, and several runs at once.

    python benchmarks/bench_gpu.py
    python benchmarks/bench_gpu.py --device cpu --images 512 --model mlp --modes plain     # a smoke test

Writes gpu-MACHINE.json into results/benchmarks and prints two tables:

- seconds per epoch of 50,000 random images at batch 128, with augmentation and running metrics, without
  evaluation: launched operation by operation (plain), replayed as a CUDA graph (captured), with the network
  compiled by torch.compile (compiled), and both; and seconds per evaluation of 10,000 images. The floor is
  102 GFLOP per step at 790 TFLOP/s.
- images per second of 1, 2 and 4 such runs in separate processes, which start together once all are warm.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from noisylabels.bench.machine import ResultFolder, processor
from noisylabels.bench.train import CLASSES, MEAN, SIDE, STD, examples
from noisylabels.core.checks import one_line
from noisylabels.core.device import pick_device
from noisylabels.core.process import usable_cpus
from noisylabels.data.augment import parse_augment
from noisylabels.data.loader import Batch, Batches, evaluation_batch_size
from noisylabels.losses.expression import loss
from noisylabels.methods.standard import Standard
from noisylabels.models.catalog import build_model
from noisylabels.training.capture import WARM_STEPS, Captured, CudaGraphs
from noisylabels.training.metrics import evaluate
from noisylabels.training.running_metrics import RunningMetrics
from noisylabels.training.settings import Settings
from noisylabels.training.training_data import EVALUATED_AT_ONCE
from noisylabels.training.update import Updater

FLOOR_SECONDS = 0.051  # of an epoch of 391 steps of the paper's network on an H200
MODES = ("plain", "captured", "compiled", "compiled and captured")


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    device: str = "auto"
    """auto, cuda, cpu"""
    model: str = "cnn8"
    """network"""
    criterion: str = "nce+rce"
    """loss"""
    precision: str = "bfloat16"
    """float32, bfloat16, float16"""
    images: int = 50_000
    """images per epoch"""
    batch_size: int = 128
    """examples per step"""
    epochs: int = 7
    """timed epochs per mode, after two that are not timed"""
    modes: tuple[Literal["plain", "captured", "compiled", "compiled and captured"], ...] = MODES
    """launch modes"""
    processes: tuple[int, ...] = (1, 2, 4)
    """numbers of concurrent runs"""
    seconds: float = 10.0
    """seconds for which concurrent runs are measured"""
    child: bool = False
    """internal: be one of the concurrent runs"""


class Run:
    """The epochs of a run, as `training.loop` iterates over them."""

    def __init__(self, options: Options, mode: str) -> None:
        self.device = pick_device(options.device)
        self.notes: list[str] = []
        settings = Settings(batch_size=options.batch_size, precision=options.precision, device=options.device)
        shape = {"channels": 3, "image_size": (SIDE, SIDE), "num_classes": CLASSES, "seed": 0}
        network: nn.Module = build_model(options.model, **shape)
        network.to(device=self.device, memory_format=torch.channels_last).train()
        self.criterion = loss(options.criterion)
        pixels, labels = examples(options.images)
        common: dict[str, Any] = {"device": self.device, "mean": MEAN, "std": STD, "seed": 0}
        common["channels_last"] = True
        augment = parse_augment("crop:4+flip")
        self.batches = Batches(
            pixels, labels, batch_size=options.batch_size, augment=augment, shuffle=True, **common
        )
        at_once = evaluation_batch_size(pixels) * (EVALUATED_AT_ONCE if self.device.type == "cuda" else 1)
        tested = pixels[: options.images // 5]
        self.tested = Batches(
            tested, labels[: len(tested)], batch_size=at_once, augment=None, shuffle=False, **common
        )
        capturable = "captured" in mode
        if capturable and self.device.type != "cuda":
            raise NotImplementedError("there are CUDA graphs on a GPU only")
        trained = torch.compile(network) if "compiled" in mode else network
        method = Standard(trained, self.criterion)
        self.network = trained
        self.updater = Updater(method, settings, self.device, capturable=capturable)
        self.update: Callable[[Batch, float], tuple[Tensor, Tensor]] = self.updater
        if capturable:
            graphs = CudaGraphs(self.device)
            self.update = Captured(self.updater, graphs, options.batch_size, self.notes.append)
        self.running = RunningMetrics(options.images, self.device)

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def epoch(self, number: int, until: float = float("inf")) -> int:
        """Train for an epoch, or until the time is up, and return the number of images seen."""
        self.running.clear()
        self.network.train()
        seen = 0
        for batch in self.batches.epoch(number):
            value, logits = self.update(batch, 0.01)
            self.running.add(batch.positions, value, logits)
            seen += len(batch.target)
            if time.perf_counter() > until:
                break
        self.wait()
        return seen

    def evaluation(self) -> float:
        """Return the seconds that an evaluation takes."""
        self.wait()
        began = time.perf_counter()
        self.network.eval()
        evaluate(self.network, self.tested, self.criterion, self.updater.autocast)
        self.wait()
        return time.perf_counter() - began


def quartiles(values: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "n": len(values)}


def epochs(options: Options, mode: str) -> dict[str, Any]:
    """Return the seconds of an epoch and an evaluation in a mode, or why the mode is unavailable."""
    try:
        run = Run(options, mode)
        began = time.perf_counter()
        for number in range(2):
            run.epoch(number)
            run.evaluation()
        ready, times, evaluations = time.perf_counter() - began, [], []
        for number in range(options.epochs):
            began = time.perf_counter()
            run.epoch(2 + number)
            times.append(time.perf_counter() - began)
            evaluations.append(run.evaluation())
    except Exception as error:  # no compiler, or a device without graphs
        return {"missing": one_line(error)}
    found: dict[str, Any] = {"epoch": quartiles(times), "evaluation": quartiles(evaluations)}
    found |= {"first_two_seconds": ready, "notes": run.notes}
    if run.device.type == "cuda":
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated(run.device)
    return found


def best_mode(options: Options) -> str:
    return "captured" if pick_device(options.device).type == "cuda" else "plain"


def child(options: Options) -> None:
    """Warm up, report ready, wait for the start, train for the given time and print the image count."""
    torch.set_num_threads(max(1, usable_cpus() // options.processes[0]))
    run = Run(options, best_mode(options))
    for number in range(2 + WARM_STEPS):  # small sets have few batches an epoch
        run.epoch(number)
    print("ready", flush=True)
    sys.stdin.readline()
    began, seen, number = time.perf_counter(), 0, 10
    while time.perf_counter() - began < options.seconds:
        seen += run.epoch(number, began + options.seconds)
        number += 1
    print(json.dumps({"images": seen, "seconds": time.perf_counter() - began}), flush=True)


def at_once(options: Options, count: int) -> dict[str, Any]:
    """Return the images per second of `count` concurrent runs."""
    words = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in CHILDS]
    command = [sys.executable, __file__, *words, "--processes", str(count), "--child"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for each in children:
        if each.stdout.readline() != "ready\n":  # type: ignore[union-attr]
            raise SystemExit(f"one of {count} runs exited before the start; its output is above")
    for each in children:
        each.stdin.write("go\n")  # type: ignore[union-attr]
        each.stdin.flush()  # type: ignore[union-attr]
    rates = []
    for each in children:
        answer = json.loads(each.communicate()[0])
        rates.append(answer["images"] / answer["seconds"])
    return {"processes": count, "images_a_second": sum(rates), "of_each": rates}


CHILDS = ("device", "model", "criterion", "precision", "images", "batch_size", "seconds")


def floor(seconds: float, options: dict[str, Any]) -> str:
    """Return an epoch's time divided by its floor, which is known only for the paper's network."""
    if options["model"] != "cnn8":
        return ""
    return f"{seconds / (FLOOR_SECONDS * options['images'] / 50_000):.1f}"


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    options = result["options"]
    lines = [
        f"{options['model']}, {options['criterion']}, {options['precision']}, batch {options['batch_size']}, "
        f"{options['images']:,} images; {result['device']}, torch {result['torch']}. Median seconds "
        f"(quartiles) of {options['epochs']} epochs.",
        "",
        "| launched | an epoch | against the floor on an H200 | an evaluation | first two epochs |",
        "|---|---:|---:|---:|---:|",
    ]
    for mode, row in result["epochs"].items():
        if "missing" in row:
            lines.append(f"| {mode} | {row['missing']} | | | |")
            continue
        one, two = row["epoch"], row["evaluation"]
        lines.append(
            f"| {mode} | {one['median']:.3f} ({one['low']:.3f}-{one['high']:.3f}) | "
            f"{floor(one['median'], options)} | {two['median']:.3f} | {row['first_two_seconds']:.1f} |"
        )
        lines += [f"| | {note} | | | |" for note in row["notes"]]
    lines += ["", "| runs at once | images a second | against one |", "|---:|---:|---:|"]
    base = result["at_once"][0]["images_a_second"] if result["at_once"] else 1.0
    for row in result["at_once"]:
        rate = row["images_a_second"]
        lines.append(f"| {row['processes']} | {rate:,.0f} | {rate / base:.2f} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    if options.child:
        child(options)
        return
    device = pick_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    result: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "options": {k: v for k, v in asdict(options).items() if k not in ("out", "child")},
        "epochs": {mode: epochs(options, mode) for mode in options.modes},
    }
    if device.type == "cuda":
        torch.cuda.empty_cache()  # for the runs at once
    result["at_once"] = [at_once(options, count) for count in options.processes]
    options.keep("gpu", result, table(result), device=name)


if __name__ == "__main__":
    main(tyro.cli(Options))
