"""Read published accuracies from the package's CSV files, lazily, and check each row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from noisylabels.core.checks import InputError, check_between, check_choice
from noisylabels.core.files import read_text

FOLDER = Path(__file__).parent
COLLECTIONS = ("paper", "literature", "methods")

COLUMNS = (
    "dataset", "noise_type", "rate", "method", "mean", "std", "model", "epochs", "metric", "setting",
    "source", "secondary",
)  # fmt: skip
SOURCE_COLUMNS = ("key", "source", "constants", "code", "symmetric", "asymmetric", "asymmetric_cifar100")

RATED = ("symmetric", "asymmetric", "instance-dependent")
"""Noises with a rate."""
HUMAN = ("aggre", "rand1", "rand2", "rand3", "worst", "noisy100")
"""Label sets of CIFAR-10N and CIFAR-100N, which have no rate."""
NOISES = ("clean", *RATED, *HUMAN, "real-world")
EPOCHS = {"last 10 epochs": "mean of the last 10", "last": "last", "final": "last", "best": "best"}
"""Words of `Published.metric`, of which the first counts -> the epoch that is reported."""


@dataclass(frozen=True)
class Source:
    """The source of published accuracies.

    Args:
        key: short name, such as "Wang 2024, Table 2".
        text: full reference.
        constants: key of the constants that its losses use according to its code; empty if unknown.
        code: address of that code; empty if none was read.
        symmetric, asymmetric, asymmetric_cifar100: noise convention of its text or released code, as this
            library writes it after the @; "plain" for independent flips; empty if unknown.
    """

    key: str
    text: str
    constants: str = ""
    code: str = ""
    symmetric: str = ""
    asymmetric: str = ""
    asymmetric_cifar100: str = ""


@dataclass(frozen=True)
class Published:
    """One published accuracy.

    Args:
        dataset: name in the literature, such as "CIFAR-10", "CIFAR-10N".
        noise_type: one of `NOISES`.
        rate: in [0, 1], 0 for clean labels; None for human annotations and real-world labels.
        method: name in the source.
        mean: test accuracy in percent.
        deviation: standard deviation as printed, in points; None if not reported.
        runs: number of runs behind the mean; None if not reported.
        model, epochs, metric, setting: as reported; empty or None if not.
        source: the source of the number.
        secondary: whether the number was read from a publication that quotes the source.
        collection: "paper", "literature", or "methods" for training methods.
    """

    dataset: str
    noise_type: str
    rate: float | None
    method: str
    mean: float
    deviation: float | None
    runs: int | None
    model: str
    epochs: int | None
    metric: str
    setting: str
    source: Source
    secondary: bool
    collection: str

    @property
    def epoch(self) -> str | None:
        """The epoch that is reported: a value of `EPOCHS`; None if the source does not state it.

        >>> [row.epoch for row in published(method="AugDesc-WS(WAW)", dataset="CIFAR-10", rate=0.9)]
        ['best', 'mean of the last 10']
        """
        return next((epoch for word, epoch in EPOCHS.items() if word in self.metric), None)

    @cached_property
    def stated(self) -> Mapping[str, str]:
        """Settings parsed from `setting` by this library's names; settings not reported are absent.

        >>> row = published(collection="paper", method="CE", noise_type="symmetric")[0]
        >>> row.stated["lr"], row.stated["weight_decay"], row.stated["precision"], "clip" in row.stated
        ('0.01', '0.0001', 'mixed', False)
        """
        found = {}
        for name, pattern in _NUMBERS.items():
            if match := re.search(pattern, self.setting):
                found[name] = f"{float(match[1]):g}"
        for name, words in _WORDS.items():
            for word, meaning in words.items():
                if word in self.setting:
                    found.setdefault(name, meaning)
        return found


_NUMBERS = {
    "lr": r"\blr ([\d.e-]+)",
    "momentum": r"\bmom ([\d.e-]+)",
    "weight_decay": r"\bwd ([\d.e-]+)",
    "batch_size": r"\bbatch (\d+)",
    "clip": r"\bgrad-clip ([\d.e-]+)",
}
_WORDS = {
    "optimizer": {"SGD": "sgd"},
    "schedule": {"cosine": "cosine", "x0.1 at epoch 60": "a tenth at epoch 60"},
    "augment": {"shift+flip+rotation": "crop:4+flip and rotation", "shift+flip": "crop:4+flip"},
    "precision": {"mixed precision": "mixed", "float32": "float32"},
}


def published(
    *,
    collection: str | None = None,
    dataset: str | None = None,
    noise_type: str | None = None,
    rate: float | None = None,
    method: str | None = None,
    model: str | None = None,
    source: str | None = None,
    secondary: bool | None = None,
    epoch: str | None = None,
) -> tuple[Published, ...]:
    """Return the published accuracies that match all given properties; all of them by default.

    Args:
        collection: one of `COLLECTIONS`.
        dataset, noise_type, method, model: as in the rows, case-insensitive.
        rate: in [0, 1].
        source: key of the source, such as "Wang 2024, Table 2".
        secondary: False for numbers read from the source itself.
        epoch: "last", "best" or "mean of the last 10": rows that state it.

    Raises:
        InputError: a name that no row has (the message suggests the nearest), or a rate outside [0, 1].

    >>> [row.mean for row in published(collection="paper", method="NCE+MAE", noise_type="asymmetric")]
    [89.31, 88.24, 85.28, 80.1]
    """
    rows = _shipped()
    wanted = {
        "collection": collection,
        "dataset": dataset,
        "noise_type": noise_type,
        "method": method,
        "model": model,
        "source": source,
        "epoch": epoch,
    }
    for name, value in wanted.items():
        if value is not None:
            known = dict.fromkeys(_name(row, name) for row in _shipped())
            folded = check_choice(value.casefold(), known, name.replace("_", " "))
            rows = tuple(row for row in rows if _name(row, name) == folded)
    if rate is not None:
        check_between(rate, "rate", 0, 1)
        rows = tuple(row for row in rows if row.rate == rate)
    if secondary is not None:
        rows = tuple(row for row in rows if row.secondary == secondary)
    return rows


def _name(row: Published, column: str) -> str:
    return (row.source.key if column == "source" else str(getattr(row, column))).casefold()


@cache
def _sources() -> dict[str, Source]:
    return read_sources(FOLDER / "sources.csv")


@cache
def _shipped() -> tuple[Published, ...]:
    return tuple(row for name in COLLECTIONS for row in read_rows(FOLDER / f"{name}.csv", _sources(), name))


def read_sources(path: Path) -> dict[str, Source]:
    """Read a file with the columns of `sources.csv` into full text -> source.

    Args:
        path: of the file.

    Raises:
        InputError: other columns, an empty key or text, or a duplicate.
    """
    found: dict[str, Source] = {}
    for line, cells in _lines(path, SOURCE_COLUMNS):
        source = Source(*(cells[name] for name in SOURCE_COLUMNS))
        if not source.key or not source.text:
            raise InputError(f"{path.name}, line {line}: a source needs a key and a text")
        if source.text in found or source.key in {each.key for each in found.values()}:
            raise InputError(f"{path.name}, line {line}: the source {source.key!r} is repeated")
        found[source.text] = source
    return found


def read_rows(path: Path, sources: Mapping[str, Source], collection: str) -> tuple[Published, ...]:
    """Read and check the rows of a file with the columns of `literature.csv`.

    Args:
        path: the file.
        sources: full text -> source; a row's source must be among them.
        collection: name of the collection that the rows form.

    Raises:
        InputError: other columns, an invalid value, a source that is not among `sources`, or a row that
            repeats or contradicts an earlier one; the message names the line.
    """
    found: list[Published] = []
    seen: dict[tuple[object, ...], tuple[int, Published]] = {}
    for line, cells in _lines(path, COLUMNS):
        try:
            row = _row(cells, sources, collection)
        except InputError as error:
            raise InputError(f"{path.name}, line {line}: {error}") from None
        what = (row.dataset, row.noise_type, row.rate, row.method)
        key = (*what, row.model, row.epochs, row.epoch, row.source.key)
        if key in seen:
            before, earlier = seen[key]
            fault = "is repeated" if earlier.mean == row.mean else f"was {earlier.mean:g}, now {row.mean:g}"
            raise InputError(
                f"{path.name}, line {line}: {row.method} of {row.source.key} {fault}; see line {before}"
            )
        seen[key] = (line, row)
        found.append(row)
    return tuple(found)


def _lines(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, column -> text) for each line below the header."""
    with io.StringIO(read_text(path), newline="") as file:
        reader = csv.reader(file)
        head = tuple(next(reader, ()))
        if head != columns:
            raise InputError(f"{path.name} has the columns {', '.join(head)}; expected {', '.join(columns)}")
        lines = []
        for cells in reader:
            if len(cells) != len(columns):
                raise InputError(
                    f"{path.name}, line {reader.line_num}: {len(cells)} cells, expected {len(columns)}"
                )
            lines.append((reader.line_num, dict(zip(columns, map(str.strip, cells), strict=True))))
    return lines


def _row(cells: Mapping[str, str], sources: Mapping[str, Source], collection: str) -> Published:
    for name in ("dataset", "method"):
        if not cells[name]:
            raise InputError(f"{name} is empty, expected a name")
    noise = check_choice(cells["noise_type"], NOISES, "noise type")
    rate = check_between(_float(cells["rate"], "rate"), "rate", 0, 1) if cells["rate"] else None
    if (rate is None) == (noise in ("clean", *RATED)) or (noise == "clean" and rate != 0):
        wanted = {"clean": "0"}.get(noise, "a number in [0, 1]" if noise in RATED else "none")
        raise InputError(f"the rate of {noise} is {cells['rate']!r}, expected {wanted}")
    deviation = check_between(_float(cells["std"], "std"), "std", 0, 100) if cells["std"] else None
    runs = re.search(r"\b(\d+) runs\b", cells["metric"])
    epochs = cells["epochs"]
    if epochs and (not epochs.isdecimal() or int(epochs) < 1):
        raise InputError(f"epochs is {epochs!r}, expected an integer of 1 or more, or nothing")
    if cells["source"] not in sources:
        raise InputError(f"unknown source {cells['source']!r}; add it to sources.csv")
    return Published(
        dataset=cells["dataset"],
        noise_type=noise,
        rate=rate,
        method=cells["method"],
        mean=check_between(_float(cells["mean"], "mean"), "mean", 0, 100),
        deviation=deviation,
        runs=int(runs[1]) if runs else None,
        model=cells["model"],
        epochs=int(epochs) if epochs else None,
        metric=cells["metric"],
        setting=cells["setting"],
        source=sources[cells["source"]],
        secondary=check_choice(cells["secondary"], ("True", "False"), "value of secondary") == "True",
        collection=collection,
    )


def _float(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}, expected a number") from None
