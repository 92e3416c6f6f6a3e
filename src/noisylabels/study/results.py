"""Results of a study as numbers: the runs of each loss under each noise, by seed.

A run stores its history as one array per column, so that thousands of runs of a hundred epochs take tens of
megabytes. Runs that may be averaged or compared form one `Results`; runs of another data set, model or
setting form another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, field_types, to_dict
from noisylabels.experiment import RunConfig
from noisylabels.experiment.config import NOT_IDENTITY
from noisylabels.experiment.machine_use import had_machine_alone
from noisylabels.losses import PAPER
from noisylabels.methods.expression import STANDARD
from noisylabels.study.exports import Damage, read_batches
from noisylabels.study.families import Family, families
from noisylabels.study.input_versions import Inputs, inputs_of, same, versions
from noisylabels.study.statistics import Summary, summarize
from noisylabels.study.store import iter_runs
from noisylabels.training.metrics import DEAD_RECALL

SUBJECT = ("loss", "method", "noise", "seed")
ALWAYS_APART = ("data", "features", "model", "width", "epochs", "image_size", "validation", "train_share")
"""Settings whose values never share a table, even where no two runs share loss, noise and seed."""

SAID = ("data", "features", "model", "epochs")
"""Settings that every title of results names."""

NOT_CURVES = ("recall", "dead_classes")
"""Columns of a history that hold lists."""

LOOP_COLUMNS = frozenset(
    {
        *("epoch", "lr", "train_loss", "given_accuracy", "true_accuracy", "memorized", "recovered"),
        *("test_loss", "test_accuracy", "validation_loss", "validation_accuracy"),
        *("train_seconds", "data_seconds", "eval_seconds", *NOT_CURVES),
    }
)
"""Columns of a history that the training loop writes; methods and callbacks add others."""

LAST_EPOCHS = 10
"""Number of final epochs over which the instability of a run is measured."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        run_id, status, message: as in the run's result; status is done or failed.
        config: all settings.
        curves: column of the history -> (epochs,) float64, NaN where a value is unknown.
        recall: (epochs, K), recall of each class on the test set.
        class_names: K names; empty if the run could not start.
        machine: the GPU, or the processor and its number of threads.
        software: versions, in one line.
        alone: whether the run is known to have had the machine to itself.
        copied: the loss of the run that this one is a copy of, see `equal_runs`; "" for a run that was run.
        folder: the run's folder; None for a run of an exported file.
        inputs: see `input_versions.inputs_of`.
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
    alone: bool = False
    copied: str = ""
    folder: Path | None = None
    inputs: Inputs = field(default_factory=dict)

    @property
    def loss(self) -> str:
        """Expression of the loss, followed by the method unless that is standard: the name of its row."""
        loss, method = str(self.config["loss"]), self.method
        return loss if method == STANDARD else f"{loss} by {method}"

    @property
    def method(self) -> str:
        """Expression of the method."""
        return str(self.config.get("method", STANDARD))

    @property
    def noise(self) -> str:
        """Specification of the noise."""
        return str(self.config["noise"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["seed"])

    def last(self, column: str) -> float | None:
        """Return the value of a column at the last epoch, or None if it is unknown."""
        values = self.curves.get(column)
        if values is None or not len(values) or np.isnan(values[-1]):
            return None
        return float(values[-1])


# Measures of a run: Run -> number, or None where it was not measured. Accuracies are in [0, 1].

Measure = Callable[[Run], float | None]


def accuracy(run: Run) -> float | None:
    """Return the test accuracy at the last epoch.

    Args:
        run: a finished run.

    Returns:
        A share in [0, 1]; None if it was not measured.
    """
    return run.last("test_accuracy")


def gap(run: Run) -> float | None:
    """Return the overfitting gap at the last epoch: accuracy on the given labels minus test accuracy.

    Args:
        run: a finished run.

    Returns:
        A difference of shares, in [-1, 1]; None if it was not measured.
    """
    given, test = run.last("given_accuracy"), run.last("test_accuracy")
    return None if given is None or test is None else given - test


def instability(run: Run) -> float | None:
    """Return the sample standard deviation of the test accuracy over the last 10 epochs.

    Args:
        run: a finished run.

    Returns:
        A share, 0 or more; None if it was not measured.
    """
    values = run.curves["test_accuracy"][-LAST_EPOCHS:]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def epoch_seconds(run: Run) -> float | None:
    """Return the mean training seconds per epoch, without evaluation.

    Args:
        run: a finished run.

    Returns:
        Seconds; None if it was not measured, as of a copied run.
    """
    if run.copied:  # its seconds are those of the other run
        return None
    return float(run.curves["train_seconds"].mean()) if len(run.curves.get("train_seconds", ())) else None


def memorized(run: Run) -> float | None:
    """Return the share of noisy labels memorized at the last epoch; None without noisy labels.

    Args:
        run: a finished run.

    Returns:
        A share in [0, 1]; None if it was not measured.
    """
    return run.last("memorized")


def chosen_accuracy(run: Run) -> float | None:
    """Return the test accuracy at the (first) epoch with the highest accuracy on noisy validation labels.

    Args:
        run: a finished run.

    Returns:
        A share in [0, 1]; None if it was not measured.
    """
    validation = run.curves.get("validation_accuracy")
    if validation is None or not len(validation) or np.isnan(validation).all():
        return None
    return float(run.curves["test_accuracy"][int(np.nanargmax(validation))])


def decline(run: Run) -> float | None:
    """Return the decline of the test accuracy from the best epoch to the last.

    Args:
        run: a finished run.

    Returns:
        A difference of shares, in [0, 1]; None if it was not measured.
    """
    values = run.curves["test_accuracy"]
    return float(values.max() - values[-1]) if len(values) else None


def dead(run: Run) -> float | None:
    """Return the number of dead classes at the last epoch: those with a recall of 1 % or less.

    Args:
        run: a finished run.

    Returns:
        A whole number from 0 to K; None if it was not measured.
    """
    return float((run.recall[-1] <= DEAD_RECALL).sum()) if len(run.recall) else None


# Results ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """Runs that may share a table: one data set, one model, one recipe.

    Args:
        runs: finished and failed runs.
        apart: settings that distinguish these runs from the other results of the same report.
    """

    runs: Sequence[Run]
    apart: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def done(self) -> list[Run]:
        """Finished runs."""
        return [run for run in self.runs if run.status == "done" and len(run.curves.get("epoch", ()))]

    @cached_property
    def copied(self) -> dict[str, str]:
        """Loss of which a run was copied -> the loss that was run in its place, as tables name them."""
        return {
            run.loss: run.copied + run.loss.removeprefix(str(run.config["loss"]))
            for run in self.done
            if run.copied
        }

    @cached_property
    def failed(self) -> list[Run]:
        """Runs that diverged or could not start."""
        finished = {id(run) for run in self.done}
        return [run for run in self.runs if id(run) not in finished]

    @cached_property
    def losses(self) -> list[str]:
        """Losses, the paper's first, in its order; then those of methods other than the standard one."""
        there = {run.loss: run for run in self.runs}
        others = [loss for loss in there if loss not in PAPER]
        place = {loss: number for number, loss in enumerate(PAPER)}

        def of_methods(loss: str) -> tuple[bool, str, int]:
            run = there[loss]
            last = place.get(str(run.config["loss"]), len(PAPER))
            return (False, "", 0) if run.method == STANDARD else (True, run.method, last)

        return [*(loss for loss in PAPER if loss in there), *sorted(others, key=of_methods)]

    @cached_property
    def families(self) -> list[Family]:
        """Noise families of the runs."""
        return families([run.noise for run in self.runs])

    def family(self, key: str) -> Family | None:
        """Return the first family whose key starts with `key`, or None."""
        return next((family for family in self.families if family.key.startswith(key)), None)

    @cached_property
    def noises(self) -> list[str]:
        """Distinct noises."""
        return list(dict.fromkeys(noise for family in self.families for noise in family.noises))

    @cached_property
    def seeds(self) -> list[int]:
        """Distinct seeds, sorted."""
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
        """Return seed -> value for the finished runs in which it was measured.

        Args:
            measure: from a run to a value or None, such as `accuracy`.
            loss, noise: of the cell, as the study names them.
        """
        found = {run.seed: measure(run) for run in self.cell(loss, noise)}
        return {seed: value for seed, value in found.items() if value is not None}

    def summary(self, measure: Measure, loss: str, noise: str) -> Summary | None:
        """Return a summary of the values of a cell, or None if it has none.

        Args:
            measure: from a run to a value or None, such as `accuracy`.
            loss, noise: of the cell, as the study names them.
        """
        values = self.values(measure, loss, noise)
        return summarize(list(values.values())) if values else None

    def curve(self, column: str, loss: str, noise: str) -> np.ndarray:
        """Return a history column of all runs of a cell as (runs, epochs), NaN where unknown.

        Args:
            column: of the history, such as "test_accuracy".
            loss, noise: of the cell, as the study names them.
        """
        found = [run.curves[column] for run in self.cell(loss, noise) if column in run.curves]
        if not found:
            return np.zeros((0, 0))
        epochs = min(map(len, found))
        return np.stack([values[:epochs] for values in found])

    @cached_property
    def settings(self) -> dict[str, list[Any]]:
        """Setting that determines the run id -> its distinct values, in order of appearance."""
        names = [name for name in to_dict(RunConfig(), NOT_IDENTITY) if name not in SUBJECT]
        defaults = to_dict(RunConfig())
        return {
            name: list(dict.fromkeys(run.config.get(name, defaults[name]) for run in self.runs))
            for name in names
        }

    @property
    def data(self) -> str:
        """Name of the data set."""
        return Path(str(self.runs[0].config["data"])).name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return next((run.class_names for run in self.runs if run.class_names), ())

    @property
    def title(self) -> str:
        """Data, model, epochs, and the settings that distinguish these results."""
        first = self.runs[0].config
        model = {"auto": "the default model"}.get(str(first["model"]), str(first["model"]))
        features = first.get("features", "none")
        seen = [] if features == "none" else [f"features of {features}"]
        words = [self.data, *seen, model, f"{first['epochs']} epochs"]
        # a reduced network or training set is always stated, even without other results to distinguish
        smaller = {name: first.get(name, 1.0) for name in ("width", "train_share")}
        others = {name: value for name, value in smaller.items() if value != 1} | dict(self.apart)
        words += [f"{name} {value}" for name, value in others.items() if name not in SAID]
        return ", ".join(words)


def split(runs: Iterable[Run], notes: list[str] | None = None) -> list[Results]:
    """Group runs into results, each of runs that may be averaged or compared.

    Runs are separated by data set, model and the like (`ALWAYS_APART`), by every setting in which runs of
    the same loss and noise differ, and by the content of their data and other input files. A setting that
    follows from the noise, such as the paper's precision, separates nothing.

    Args:
        runs: the runs.
        notes: receives a line for each input that changed between runs.
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
    groups: dict[tuple[tuple[str, Any], ...], list[Run]] = {}
    ordered = [name for name in names if name in apart]
    found = versions([(str(run.folder or run.run_id), run.inputs) for run in runs], notes)
    for run, version in zip(runs, found, strict=True):
        key = (*((name, value(run, name)) for name in ordered), *version.items())
        groups.setdefault(key, []).append(run)
    return [Results(group, dict(key)) for key, group in groups.items()]


# Reading ------------------------------------------------------------------------------------------


def read_results(sources: Sequence[str | Path], notes: list[str] | None = None) -> list[Results]:
    """Read the finished runs of folders and exported files; a run found in several sources counts once.

    Of several copies of a run, the first that is done is read, or else the first that failed. Runs of the
    same settings are no copies if the content of their data or of another input file differs.

    Args:
        sources: the folders and files.
        notes: receives a line per source with damaged runs, which are skipped, and a line per input that
            changed between runs.

    Raises:
        InputError: a source does not exist, is of another kind, or holds no finished run.
    """
    found: dict[str, list[Run]] = {}
    for source in sources:
        path, damage = Path(source).expanduser(), Damage()
        runs = list((_runs_of_folder if path.is_dir() else _runs_of_export)(path, damage))
        for run in runs:
            copies = found.setdefault(run.run_id, [])
            place = next(
                (place for place, other in enumerate(copies) if same(run.inputs, other.inputs)), None
            )
            if place is None:
                copies.append(run)
            elif copies[place].status != "done" and run.status == "done":
                copies[place] = run
        if not runs:
            raise InputError(
                f"{path} holds no finished run{damage.line(', but ')}; name a folder of runs, or an exported "
                "file"
            )
        if notes is not None and damage.faults:
            notes.append(f"{path}: skipped {damage.line()}")
    return split(itertools.chain.from_iterable(found.values()), notes)


def _runs_of_folder(folder: Path, damage: Damage) -> Iterator[Run]:
    for where, row in iter_runs(folder, damage):
        history = row["history"]
        # a method or callback may add a column to some runs only, or only from some epoch on
        columns = dict.fromkeys(name for each in history for name in each if name not in NOT_CURVES)
        curves = {name: np.array([each.get(name) for each in history], np.float64) for name in columns}
        shares = [np.array(each.get("recall") or [], np.float64) for each in history]
        try:
            run = _run(row, curves, shares)
        except InputError as error:
            damage.faults.append(str(error))
            continue
        yield replace(run, folder=where)


def _runs_of_export(path: Path, damage: Damage) -> Iterator[Run]:
    """Read histories column by column: 360,000 epochs as Python objects would take a gigabyte."""
    for rows, lists in read_batches(path):
        ends = lists.offsets.to_numpy()
        inner = lists.values
        # the list has no struct type if no run of the file has a history
        names = [part.name for part in inner.type] if inner.type.num_fields else []
        columns = {name: _floats(inner.field(name)) for name in names if name not in NOT_CURVES}
        recalls = inner.field("recall") if "recall" in names else None
        bounds, shares = (recalls.offsets.to_numpy(), _floats(recalls.values)) if recalls else ([], ends)
        for row, begin, end in zip(rows, ends[:-1], ends[1:], strict=True):
            # copies: a view would keep the whole batch in memory
            curves = {name: values[begin:end].copy() for name, values in columns.items() if end > begin}
            try:
                if row["fault"]:
                    raise InputError(row["fault"])
                run = _run(row, curves, [shares[a:b] for a, b in itertools.pairwise(bounds[begin : end + 1])])
            except InputError as error:
                damage.faults.append(str(error))
                continue
            yield run


def _floats(column: Any) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def _run(row: Mapping[str, Any], curves: Mapping[str, np.ndarray], recall: Sequence[np.ndarray]) -> Run:
    """Return a run; `recall` has one array per epoch, all empty without a test set."""
    if len(counts := {len(each) for each in recall}) > 1:
        raise InputError(
            f"the run {row['run_id']} cannot be read: its epochs have the recall of {min(counts)} to "
            f"{max(counts)} classes"
        )
    environment = row["environment"]
    versions = environment.get("packages", {})
    machine = environment.get("gpu") or environment.get("processor", "")
    if machine and not environment.get("gpu"):
        threads = environment.get("threads", "?")
        machine += f", {threads} thread{'' if threads == 1 else 's'}"
    config = _config(row)
    return Run(
        run_id=row["run_id"],
        status=row["status"],
        message=row["message"],
        config=config,
        curves=curves,
        recall=np.stack(recall) if any(map(len, recall)) else np.zeros((0, 0)),
        class_names=tuple(row["class_names"]),
        machine=machine,
        software=(
            f"noisylabels {environment['noisylabels']}, torch {versions.get('torch', '?')}, "
            f"Python {environment.get('python', '?')}"
            if "noisylabels" in environment
            else ""
        ),
        alone=had_machine_alone(environment),
        copied=str(environment.get("copied", {}).get("loss", "")),
        inputs=inputs_of(environment, config),
    )


_REQUIRED = ("loss", "noise", "seed", "data", "model", "epochs")


def _config(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a run, checked; settings newer than the run are at their defaults."""
    found = {name: value for name, value in row["config"].items() if name in field_types(RunConfig)}
    try:
        return to_dict(build(RunConfig, found))
    except InputError as error:
        raise InputError(f"the run {row['run_id']} cannot be read: {error}") from None
