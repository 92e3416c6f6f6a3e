"""``noisylabels noise``: add label noise to a data set and show its transition matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from noisylabels.cli import output

if TYPE_CHECKING:
    from noisylabels.noise.labels import NoisyLabels

MOST_PAIRS = 20
MOST_COLUMNS = 60  # no terminal is wider, and the layout of a thousand columns is slow


@dataclass
class Noise:
    """Add label noise to a data set and compare its realized with its nominal transition matrix.

    For example:
        noisylabels noise asymmetric:0.4 --data digits --plot noise.svg
        noisylabels noise "longtail:0.1 | symmetric:0.4" --out labels.parquet
    """

    spec: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NOISE")]
    """noise such as symmetric:0.4, asymmetric:0.4 or human:FILE@worse, or a chain of several, separated by |;
    see `noisylabels list noise`"""
    data: str = "digits"
    """as in `noisylabels train`"""
    data_root: str | None = None
    """as in `noisylabels train`"""
    image_size: int | None = None
    """as in `noisylabels train`"""
    bad_images: str = "fail"
    """as in `noisylabels train`; skipped images have no labels"""
    label_column: str | None = None
    """as in `noisylabels train`"""
    id_column: str | None = None
    """as in `noisylabels train`"""
    text_column: str | None = None
    """as in `noisylabels train`"""
    seed: int = 0
    """seed of the noise; a run with this seed trains on these labels"""
    download: bool = False
    """as in `noisylabels train`"""
    out: Path | None = None
    """Parquet file for the labels, with columns given, true and flipped"""
    plot: Path | None = None
    """file (.svg, .png or .html) for a plot of both matrices"""

    def run(self) -> int:
        """Print the noise rate and the matrices."""
        from noisylabels.cli.terminal import TerminalReporter, console
        from noisylabels.core.files import check_target
        from noisylabels.experiment import RunConfig, corrupt_set, load_sets
        from noisylabels.noise.spec import NoiseSpec
        from noisylabels.report.figures import FORMATS, save, transition_matrices

        # errors that need no data come before the reading, which can be slow
        NoiseSpec.parse(self.spec)
        if self.plot is not None:
            check_target(self.plot.expanduser(), FORMATS, "figure")
        if self.out is not None:
            check_target(self.out.expanduser(), (".parquet",), "file of labels")
        config = RunConfig(
            data=self.data,
            data_root=self.data_root,
            image_size=self.image_size,
            bad_images=self.bad_images,
            label_column=self.label_column,
            id_column=self.id_column,
            text_column=self.text_column,
            download=self.download,
        )
        with TerminalReporter(config.epochs) as reporter:
            whole, test = load_sets(config, reporter)
            changed, labels = corrupt_set(
                whole,
                self.spec,
                seed=self.seed,
                test=test,
                data_root=self.data_root,
                bad_images=self.bad_images,
                download=self.download,
                reporter=reporter,
                id_column=self.id_column,
            )
        summary = _summary(whole.name, len(whole), labels)
        # first, because a closed pipe ends the printing
        if self.plot is not None:
            drawn = transition_matrices(labels.realized, labels.nominal, whole.class_names, summary)
            save(drawn, self.plot.expanduser())
        if self.out is not None:
            labels.save(self.out.expanduser(), changed.ids, changed.rows)
        console().print(summary, markup=False, soft_wrap=True)
        if not _print_matrices(labels, whole.class_names):
            _print_pairs(labels, whole.class_names)
        for what, file in (("labels", self.out), ("plot", self.plot)):
            if file is not None:
                output.say(f"wrote the {what} to {file}")
        return 0


def _summary(name: str, examples: int, labels: NoisyLabels) -> str:
    wrong = int(labels.flipped.sum())
    text = f"{name}, {labels.spec}, seed {labels.seed}: {wrong} of {len(labels)} labels are noisy"
    text += f" ({100 * labels.rate:.2f} %)"
    if labels.foreign is not None:
        text += f", {int((labels.foreign >= 0).sum())} of them with foreign images"
    if labels.index is not None:
        text += f"; {len(labels)} of {examples} examples kept"
    return text


def _print_matrices(labels: NoisyLabels, names: tuple[str, ...]) -> bool:
    """Print the matrices side by side or one below the other; return False if they are too wide for that."""
    from rich.table import Table

    from noisylabels.cli.terminal import console, matrix

    if len(names) > MOST_COLUMNS:
        return False
    sizes = labels.counts.sum(axis=1).tolist()
    matrices = [matrix(labels.realized.tolist(), names, "realized (%)", sizes)]
    if labels.nominal is not None:
        matrices.append(matrix(labels.nominal.tolist(), names, "nominal (%)"))
    unbounded = console().options.update(width=10_000)
    widths = [console().measure(one, options=unbounded).maximum for one in matrices]
    if max(widths) > console().width:
        return False
    if sum(widths) + 2 <= console().width:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(*matrices)
        console().print(grid)
    else:
        for one in matrices:
            console().print(one)
    return True


def _print_pairs(labels: NoisyLabels, names: tuple[str, ...]) -> None:
    """Print the noise rates of the classes and the most frequent confusions."""
    import numpy as np

    from noisylabels.cli.terminal import console, table

    counts, realized, nominal = labels.counts, labels.realized, labels.nominal
    np.fill_diagonal(counts, 0)
    most = np.argsort(-counts, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(most, counts.shape), strict=True)]
    rows = [
        [
            names[i],
            names[j],
            str(counts[i, j]),
            f"{100 * realized[i, j]:.1f} %",
            "" if nominal is None else f"{100 * nominal[i, j]:.1f} %",
        ]
        for i, j in pairs
        if counts[i, j]
    ]
    wrong = np.sort(100 * (1 - realized.diagonal()))
    console().print(
        f"noise rate per class: minimum {wrong[0]:.1f} %, median {np.median(wrong):.1f} %, "
        f"maximum {wrong[-1]:.1f} %",
        markup=False,
    )
    console().print(f"the {len(rows)} most frequent confusions of {len(names)} classes:", markup=False)
    console().print(table(["true", "given", "examples", "realized", "nominal"], rows))
