"""The runs of a study as numbers: what one loss did under one noise, seed by seed.

A run keeps its history as arrays, a column each, so that thousands of runs of a hundred epochs are tens of
megabytes. Runs that may be averaged or compared are a `Results`; runs of another data set, model or setting
are another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, field_types, to_dict
from noisylabels.experiment import RunConfig
from noisylabels.experiment.config import NOT_IDENTITY
from noisylabels.losses import PAPER
from noisylabels.study.families import Family, families
from noisylabels.study.statistics import Summary, summarize
from noisylabels.study.store import iter_rows, read_batches
from noisylabels.training.metrics import DEAD_RECALL

SUBJECT = ("loss", "noise", "seed")
ALWAYS_APART = ("data", "model", "width", "epochs", "image_size", "validation", "train_share")
"""Settings whose runs are never put into one table, even where no two share loss, noise and seed."""

SAID = ("data", "model", "epochs")
"""Settings that every title of results names."""

LAST_EPOCHS = 10
"""Number of last epochs over which the instability of a run is measured."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        run_id, status, message: as in the run's result; status is done or failed.
        config: every setting.
        curves: column of the history -> (epochs,) float64, NaN where a value is unknown.
        recall: (epochs, K) shares of each class's test examples that are predicted as it.
        class_names: K names; empty if the run could not begin.
        machine: the GPU, or the processor and its threads.
        software: versions, one line.
    """

    run_id: str
    status: str
    message: str
    config: Mapping[str, Any]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    recall: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    class_names: tuple[str, ...] = ()
    machine: str = ""
    software: str = ""

    @property
    def loss(self) -> str:
        """The expression of the loss."""
        return str(self.config["loss"])

    @property
    def noise(self) -> str:
        """The text of the noise."""
        return str(self.config["noise"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed"])

    def last(self, column: str) -> float | None:
        """Return a column's value of the last epoch, or None if it is unknown."""
        values = self.curves.get(column)
        if values is None or not len(values) or np.isnan(values[-1]):
            return None
        return float(values[-1])


# What is measured of a run: Run -> number, or None where it was not measured. Accuracies are in [0, 1].

Measure = Callable[[Run], float | None]


def accuracy(run: Run) -> float | None:
    """Return the test accuracy of the last epoch."""
    return run.last("test_accuracy")


def gap(run: Run) -> float | None:
    """Return the overfitting gap: accuracy on the given labels minus test accuracy, last epoch."""
    given, test = run.last("given_accuracy"), run.last("test_accuracy")
    return None if given is None or test is None else given - test


def instability(run: Run) -> float | None:
    """Return the sample deviation of the test accuracy over the last 10 epochs."""
    values = run.curves["test_accuracy"][-LAST_EPOCHS:]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def epoch_seconds(run: Run) -> float | None:
    """Return the mean seconds of training an epoch, without evaluation."""
    return float(run.curves["train_seconds"].mean()) if len(run.curves.get("train_seconds", ())) else None


def memorized(run: Run) -> float | None:
    """Return the share of wrong labels that the last epoch's model predicts as given; None without any."""
    return run.last("memorized")


def chosen_accuracy(run: Run) -> float | None:
    """Return the test accuracy of the epoch that is best on noisy validation, the first of equals."""
    validation = run.curves.get("validation_accuracy")
    if validation is None or not len(validation) or np.isnan(validation).all():
        return None
    return float(run.curves["test_accuracy"][int(np.nanargmax(validation))])


def decline(run: Run) -> float | None:
    """Return how far the last epoch's test accuracy is below the best epoch's."""
    values = run.curves["test_accuracy"]
    return float(values.max() - values[-1]) if len(values) else None


def dead(run: Run) -> float | None:
    """Return how many classes are dead in the last epoch: recalled to 1 % or less."""
    return float((run.recall[-1] <= DEAD_RECALL).sum()) if len(run.recall) else None


# Results ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """Runs that belong into one table: of one data set, one model, one recipe.

    Args:
        runs: finished runs and failed ones.
        apart: settings in which these runs differ from the other results of the same report.
    """

    runs: Sequence[Run]
    apart: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def done(self) -> list[Run]:
        """The runs that have a result."""
        return [run for run in self.runs if run.status == "done" and len(run.curves.get("epoch", ()))]

    @cached_property
    def failed(self) -> list[Run]:
        """The runs that have none: they diverged or could not begin."""
        finished = {id(run) for run in self.done}
        return [run for run in self.runs if id(run) not in finished]

    @cached_property
    def losses(self) -> list[str]:
        """Losses, the paper's first and in its order."""
        there = dict.fromkeys(run.loss for run in self.runs)
        return [*(loss for loss in PAPER if loss in there), *(loss for loss in there if loss not in PAPER)]

    @cached_property
    def families(self) -> list[Family]:
        """The noises of the runs, in families."""
        return families([run.noise for run in self.runs])

    def family(self, key: str) -> Family | None:
        """Return the family whose key begins so, or None."""
        return next((family for family in self.families if family.key.startswith(key)), None)

    @cached_property
    def noises(self) -> list[str]:
        """Every noise once."""
        return list(dict.fromkeys(noise for family in self.families for noise in family.noises))

    @cached_property
    def seeds(self) -> list[int]:
        """Every seed once, sorted."""
        return sorted({run.seed for run in self.runs})

    @cached_property
    def _cells(self) -> dict[tuple[str, str], list[Run]]:
        cells: dict[tuple[str, str], list[Run]] = {}
        for run in sorted(self.done, key=lambda run: run.seed):
            cells.setdefault((run.loss, run.noise), []).append(run)
        return cells

    def cell(self, loss: str, noise: str) -> list[Run]:
        """Return the finished runs of a loss under a noise, by seed."""
        return self._cells.get((loss, noise), [])

    def values(self, measure: Measure, loss: str, noise: str) -> dict[int, float]:
        """Return seed -> value of the runs of which it was measured."""
        found = {run.seed: measure(run) for run in self.cell(loss, noise)}
        return {seed: value for seed, value in found.items() if value is not None}

    def summary(self, measure: Measure, loss: str, noise: str) -> Summary | None:
        """Return the values of a cell summarized, or None if there are none."""
        values = self.values(measure, loss, noise)
        return summarize(list(values.values())) if values else None

    def curve(self, column: str, loss: str, noise: str) -> np.ndarray:
        """Return a column of the history of every run of a cell, (runs, epochs), NaN where unknown."""
        found = [run.curves[column] for run in self.cell(loss, noise) if column in run.curves]
        if not found:
            return np.zeros((0, 0))
        epochs = min(map(len, found))
        return np.stack([values[:epochs] for values in found])

    @cached_property
    def settings(self) -> dict[str, list[Any]]:
        """Every setting that enters a run's identity -> its values over the runs, in the order they come."""
        names = [name for name in to_dict(RunConfig(), NOT_IDENTITY) if name not in SUBJECT]
        defaults = to_dict(RunConfig())
        return {
            name: list(dict.fromkeys(run.config.get(name, defaults[name]) for run in self.runs))
            for name in names
        }

    @property
    def data(self) -> str:
        """The data set's name."""
        return Path(str(self.runs[0].config["data"])).name

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return next((run.class_names for run in self.runs if run.class_names), ())

    @property
    def title(self) -> str:
        """Data, model and epochs in words, and what sets these runs apart."""
        first = self.runs[0].config
        model = {"auto": "the default model"}.get(str(first["model"]), str(first["model"]))
        words = [self.data, model, f"{first['epochs']} epochs"]
        # a reader must know of a smaller network and a smaller set whether or not others stand beside
        smaller = {name: first.get(name, 1.0) for name in ("width", "train_share")}
        others = {name: value for name, value in smaller.items() if value != 1} | dict(self.apart)
        words += [f"{name} {value}" for name, value in others.items() if name not in SAID]
        return ", ".join(words)


def split(runs: Iterable[Run]) -> list[Results]:
    """Return runs as results, those apart that may not be averaged or compared.

    Apart are runs of another data set or model (`ALWAYS_APART`), and those that share loss and noise and yet
    differ in a setting; a setting that goes with the noise, as the paper's precision does, parts nothing.
    """
    runs = list(runs)
    defaults = to_dict(RunConfig())
    names = [name for name in to_dict(RunConfig(), NOT_IDENTITY) if name not in SUBJECT]

    def value(run: Run, name: str) -> Any:
        found = run.config.get(name, defaults[name])
        return Path(str(found)).name if name == "data" else found

    apart = {name for name in names if name in ALWAYS_APART and len({value(run, name) for run in runs}) > 1}
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.loss, run.noise), []).append(run)
    for cell in cells.values():
        apart |= {name for name in names if len({value(run, name) for run in cell}) > 1}
    groups: dict[tuple[Any, ...], list[Run]] = {}
    ordered = [name for name in names if name in apart]
    for run in runs:
        groups.setdefault(tuple(value(run, name) for name in ordered), []).append(run)
    return [Results(group, dict(zip(ordered, key, strict=True))) for key, group in groups.items()]


# Reading ------------------------------------------------------------------------------------------


def read_results(sources: Sequence[str | Path]) -> list[Results]:
    """Return the finished runs of folders and of exported files; a run that is in several counts once.

    Raises:
        InputError: a source is not there, is of another kind, or holds no finished run.
    """
    found: dict[str, Run] = {}
    for source in sources:
        path = Path(source).expanduser()
        runs = _runs_of_folder(path) if path.is_dir() else _runs_of_export(path)
        count = 0
        for count, run in enumerate(runs, 1):  # noqa: B007  the last count is wanted
            found.setdefault(run.run_id, run)
        if not count:
            raise InputError(f"{path} holds no finished run; name a folder of runs, or an exported file")
    return split(found.values())


def _runs_of_folder(folder: Path) -> Iterator[Run]:
    for row in iter_rows(folder):
        history = row["history"]
        try:
            columns = history[0].keys() - {"recall", "dead_classes"} if history else ()
            curves = {name: np.array([each.get(name) for each in history], np.float64) for name in columns}
            recall = np.array([each["recall"] for each in history], np.float64) if history else None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{folder}: the history of the run {row['run_id']} is damaged") from None
        yield _run(row, curves, recall)


def _runs_of_export(path: Path) -> Iterator[Run]:
    """Read the histories column by column: 360,000 epochs as Python objects would be a gigabyte."""
    for rows, lists in read_batches(path):
        ends = lists.offsets.to_numpy()
        inner = lists.values
        # without a type where no run of the file began
        names = [part.name for part in inner.type] if inner.type.num_fields else []
        columns = {
            name: _floats(inner.field(name)) for name in names if name not in ("recall", "dead_classes")
        }
        recalls = inner.field("recall") if "recall" in names else None
        bounds, shares = (recalls.offsets.to_numpy(), _floats(recalls.values)) if recalls else (None, None)
        for row, begin, end in zip(rows, ends[:-1], ends[1:], strict=True):
            # copies: a view would keep the whole part in memory
            curves = {name: values[begin:end].copy() for name, values in columns.items() if end > begin}
            recall = None
            if end > begin and bounds is not None and shares is not None:
                recall = shares[bounds[begin] : bounds[end]].reshape(end - begin, -1).copy()
            yield _run(row, curves, recall)


def _floats(column: Any) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def _run(row: Mapping[str, Any], curves: Mapping[str, np.ndarray], recall: np.ndarray | None) -> Run:
    environment = row["environment"]
    versions = environment.get("packages", {})
    machine = environment.get("gpu") or environment.get("processor", "")
    if machine and not environment.get("gpu"):
        threads = environment.get("threads", "?")
        machine += f", {threads} thread{'' if threads == 1 else 's'}"
    return Run(
        run_id=row["run_id"],
        status=row["status"],
        message=row["message"],
        config=_config(row),
        curves=curves,
        recall=recall if recall is not None else np.zeros((0, 0)),
        class_names=tuple(row["class_names"]),
        machine=machine,
        software=(
            f"noisylabels {environment['noisylabels']}, torch {versions.get('torch', '?')}, "
            f"Python {environment.get('python', '?')}"
            if "noisylabels" in environment
            else ""
        ),
    )


def _config(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting of a run, checked; one that came after the run is at its default."""
    found = {name: value for name, value in row["config"].items() if name in field_types(RunConfig)}
    try:
        if missing := [name for name in (*SUBJECT, "data", "model", "epochs") if name not in found]:
            raise InputError(f"its configuration lacks {missing[0]}")
        return to_dict(build(RunConfig, found))
    except InputError as error:
        raise InputError(f"the run {row['run_id']} cannot be read: {error}") from None
