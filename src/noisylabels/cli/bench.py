"""``noisylabels bench``: measure speed on this machine, relative to common baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass
class Bench:
    """Measure speed on this machine as time relative to a baseline in the same process.

    For example:
        noisylabels bench losses
        noisylabels bench train --loss nce+rce --threads 2
        noisylabels bench data
    """

    what: Annotated[Literal["losses", "train", "data"], tyro.conf.Positional]
    """losses: forward and backward pass, relative to F.cross_entropy; train: a training step with its data,
    relative to a plain float32 loop with a DataLoader over Pillow images; data: reading small images from
    files, relative to Pillow"""
    loss: tuple[str, ...] = ()
    """losses to measure (default: the paper's 12; for train: nce+mae)"""
    shapes: tuple[str, ...] = ()
    """for losses: shapes NxK of the logits, as in --shapes 128x10 512x1000"""
    model: str = "cnn8"
    """for train: a name in `noisylabels list models`"""
    precision: tuple[str, ...] = ("float32", "bfloat16")
    """for train: precisions of our loop; the baseline always uses float32"""
    device: str = "cpu"
    """cpu, cuda, cuda:1 or mps"""
    threads: int = 1
    """threads of this process"""
    rounds: int = 11
    """number of times that each pair is timed, alternating"""

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
            f"Median of {self.rounds} rounds (quartiles); below 1 is faster than the baseline. torch "
            f"{torch.__version__}, {self.device}, {self.threads} thread(s), {os.cpu_count()} cores, "
            f"loss kernel {kernel_name() or 'none'}{load}.",
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
        return ["loss", "precision", "time per step, plain loop = 1", "ours", "plain loop"], rows

    def _data(self) -> tuple[list[str], list[list[str]]]:
        from noisylabels.bench.data import batch_rate, decode_ratio

        rows = []
        for form in ("png", "jpeg"):
            found = decode_ratio(form=form, rounds=self.rounds)
            rows.append([f"time to decode {form}, Pillow on as many cores = 1", str(found)])
        return ["measured", "result"], [*rows, ["batches from the cache", f"{batch_rate():,.0f} images/s"]]


def read_shape(text: str) -> tuple[int, int]:
    """Return N and K from text such as "128x10"."""
    from noisylabels.core.checks import InputError

    first, _, second = text.lower().partition("x")
    if not (first.isdigit() and second.isdigit() and int(first) >= 1 and int(second) >= 2):
        raise InputError(f"--shapes has {text!r}, expected NxK such as 512x1000, with K of 2 or more")
    return int(first), int(second)
