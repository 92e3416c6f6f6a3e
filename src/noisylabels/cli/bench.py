"""``noisylabels bench``: how fast it is here, against what most begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass
class Bench:
    """Measure speed on this machine, each figure a ratio to a named baseline in the same process.

    noisylabels bench losses

    noisylabels bench train --loss nce+rce --threads 2

    noisylabels bench data
    """

    what: Annotated[Literal["losses", "train", "data"], tyro.conf.Positional]
    """losses: forward and backward, against F.cross_entropy; train: a step with its data, against the plain
    loop of a DataLoader over Pillow images in float32; data: small images read from files, against Pillow"""
    loss: tuple[str, ...] = ()
    """losses to measure (default: the paper's 12; for train nce+mae)"""
    shapes: tuple[str, ...] = ()
    """for losses: N and K of the logits, as in --shapes 128x10 512x1000"""
    model: str = "cnn8"
    """for train: a name of `noisylabels list models`"""
    precision: tuple[str, ...] = ("float32", "bfloat16")
    """for train: of our loop; the baseline is in float32"""
    device: str = "cpu"
    """cpu, cuda, ..."""
    threads: int = 1
    """of this process"""
    rounds: int = 11
    """in how many turns each pair is timed"""

    def run(self) -> int:
        """Measure, and print a table."""
        import os

        import torch

        from noisylabels.cli.terminal import console, table
        from noisylabels.core.checks import check_between
        from noisylabels.core.device import pick_device
        from noisylabels.losses import kernel_name

        torch.set_num_threads(int(check_between(self.threads, "--threads", 1, 1024)))
        check_between(self.rounds, "--rounds", 2)
        pick_device(self.device)
        head, rows = {"losses": self._losses, "train": self._train, "data": self._data}[self.what]()
        console().print(table(head, rows))
        load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        console().print(
            f"Median of {self.rounds} turns, and the quartiles; below 1 is faster than the baseline. torch "
            f"{torch.__version__}, {self.device}, {self.threads} thread(s), {os.cpu_count()} cores, "
            f"losses' kernel {kernel_name() or 'none'}{load}.",
            markup=False,
        )
        return 0

    def _losses(self) -> tuple[list[str], list[list[str]]]:
        from noisylabels.bench.losses import SHAPES, loss_ratio
        from noisylabels.losses import PAPER

        shapes = [read_shape(text) for text in self.shapes] or list(SHAPES)
        head = ["loss", *(f"{n:,} x {k:,}" for n, k in shapes)]
        rows = [
            [name, *(str(loss_ratio(name, s, device=self.device, rounds=self.rounds)) for s in shapes)]
            for name in self.loss or PAPER
        ]
        return head, rows

    def _train(self) -> tuple[list[str], list[list[str]]]:
        from noisylabels.bench.train import step_ratio

        rows = []
        for name in self.loss or ("nce+mae",):
            for precision in self.precision:
                found = step_ratio(
                    name, model=self.model, precision=precision, device=self.device, rounds=self.rounds
                )
                times = [f"{1000 * found.seconds:.0f} ms", f"{1000 * found.baseline_seconds:.0f} ms"]
                rows.append([name, precision, str(found), *times])
        return ["loss", "precision", "a step against the plain loop's", "ours", "plain"], rows

    def _data(self) -> tuple[list[str], list[list[str]]]:
        from noisylabels.bench.data import batch_rate, decode_ratio

        rows = []
        for form in ("png", "jpeg"):
            found = decode_ratio(form=form, rounds=self.rounds)
            rows.append([f"decoding {form}, against Pillow on as many cores", str(found)])
        return ["what", ""], [*rows, ["batches from the cache", f"{batch_rate():,.0f} images a second"]]


def read_shape(text: str) -> tuple[int, int]:
    """Return N and K of "128x10"."""
    from noisylabels.core.checks import InputError

    first, _, second = text.lower().partition("x")
    if not (first.isdigit() and second.isdigit() and int(first) >= 1 and int(second) >= 2):
        raise InputError(f"--shapes has {text!r}, expected N and K as in 512x1000, K of 2 or more")
    return int(first), int(second)
