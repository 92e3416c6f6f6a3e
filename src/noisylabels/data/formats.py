"""The registry of data formats on disk; a new one is a file with `find` and `plan`, and a row here."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file
from noisylabels.core.registry import Registry
from noisylabels.core.urls import local_path, url_of
from noisylabels.data import (
    animal10n,
    arrays,
    cifar,
    clothing1m,
    feature_table,
    food101n,
    idx,
    image_table,
    parquet,
    shard_files,
    shards,
    user_data,
    webvision,
)
from noisylabels.data.feature_table import TablePlan
from noisylabels.data.file_sources import names_below
from noisylabels.data.reader import Options, Plan, check_no_column, check_no_text
from noisylabels.data.shards import ShardPlan

AnyPlan = Plan | TablePlan | ShardPlan
"""What a format returns: for images that are decoded into the cache, for rows, or for shards."""


@dataclass(frozen=True)
class Format:
    """A format on disk, one row of the registry.

    Args:
        name: its name.
        title: a description in one line.
        layout: the files and folders that identify it, in words.
        find: returns the path to pass to `plan` if a path is or holds this format, else None; inspects
            only names and headings.
        plan: returns the plan of reading the path that was found.
        columns: whether it has named columns, so that the user may name those of labels and ids.
    """

    name: str
    title: str
    layout: str
    find: Callable[[Path], Path | None]
    plan: Callable[[Path, Options], AnyPlan]
    columns: bool = False


def _beside_images(find: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
    """Return `find` of a format of arrays or tables, which gives way to images in class folders.

    Parquet files of the hub, called after a part, do not: such a repository may have folders of pictures too.
    """

    def found(path: Path) -> Path | None:
        try:
            place = find(path)
        except InputError:
            if user_data.holds_class_images(path):
                return None
            raise
        if place is None or path.is_file():
            return place
        return place if parquet.is_hub(path) or not user_data.holds_class_images(path) else None

    return found


FORMATS: Registry[Format] = Registry("format")
# The first match counts: formats with distinctive file names come before those that many folders resemble.
for _row in (
    *(
        Format(one.name, f"{title} as its authors publish it", one.layout, one.find, one.plan)
        for one, title in ((cifar.CIFAR10, "CIFAR-10"), (cifar.CIFAR100, "CIFAR-100"))
    ),
    Format("idx", "IDX files, as of MNIST and similar sets", idx.LAYOUT, idx.find, idx.plan),
    Format("webvision", "WebVision 1.0, the Google images", webvision.LAYOUT, webvision.find, webvision.plan),
    Format("clothing1m", "Clothing1M", clothing1m.LAYOUT, clothing1m.find, clothing1m.plan),
    Format("food101n", "Food-101N, with Food-101 for testing", food101n.LAYOUT, food101n.find, food101n.plan),
    Format(
        "animal10n", "ANIMAL-10N, images or binary batches", animal10n.LAYOUT, animal10n.find, animal10n.plan
    ),
    Format(
        "features",
        "a table of features",
        feature_table.LAYOUT,
        _beside_images(feature_table.find),
        feature_table.plan,
        columns=True,
    ),
    Format(
        "parquet",
        "Hugging Face image Parquet",
        parquet.LAYOUT,
        _beside_images(parquet.find),
        parquet.plan,
        columns=True,
    ),
    Format("arrays", "NumPy arrays", arrays.LAYOUT, _beside_images(arrays.find), arrays.plan),
    Format(
        "table",
        "a CSV or TSV table of paths and labels",
        image_table.LAYOUT,
        image_table.find,
        image_table.plan,
        columns=True,
    ),
    Format(
        "shards",
        "WebDataset shards",
        shard_files.LAYOUT,
        _beside_images(shard_files.find),
        shards.plan,
        columns=True,
    ),
    Format("folders", "images, one folder per class", user_data.LAYOUT, user_data.find, user_data.plan),
):
    FORMATS.add(_row.name, _row)


_FRAME = "pass it as a data frame to nl.load or nl.audit_labels, or write it with frame.to_csv('NAME.csv')"

CONVERT = {
    **{
        f"{end}{packed}": f"a compressed table, which is not read; unpack it first, to NAME{end}"
        for end in (".csv", ".tsv")
        for packed in (".gz", ".bz2", ".xz", ".zip", ".zst")
    },
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet, which is not read; save it as CSV"),
    **dict.fromkeys(
        (".json", ".jsonl", ".ndjson"),
        f"JSON, which is not read; use pandas.read_json(path) and {_FRAME}",
    ),
    **dict.fromkeys(
        (".feather", ".arrow"),
        f"an Arrow file, which is not read; use pandas.read_feather(path) and {_FRAME}",
    ),
    **dict.fromkeys(
        (".pkl", ".pickle"),
        "a pickle, which is not read, because reading it would run code from the file; save its arrays with "
        "numpy.savez(path, X=X, y=y)",
    ),
    **dict.fromkeys((".h5", ".hdf5", ".mat"), "not read; save its arrays with numpy.savez(path, X=X, y=y)"),
    **dict.fromkeys(
        (".zip", ".tar.gz", ".tgz"),
        "an archive, which is not read; unpack it and pass the folder, or shards as .tar",
    ),
}
"""Ending of a file that no format reads -> what it is and what to do."""


def _images_beside(path: Path) -> str:
    count = sum(1 for _ in names_below(path))
    return f"left out {count:,} images in the folders of {path}: its Parquet files are the data"


def is_table(path: Path) -> bool:
    """Return whether `path` is or holds a table of features; it reads at most the heading."""
    for row in FORMATS.values():
        with contextlib.suppress(InputError, OSError):  # `plan_path` reports it
            if row.find(path) is not None:
                return row.name == "features"
        if row.name == "features":  # no format after it is of features
            break
    return False


def is_there(path: Path) -> bool:
    """Return whether a path is a file, a folder, a pattern of shards, or any URL."""
    return os.path.exists(local_path(path)) or shard_files.is_pattern(path) or url_of(path) is not None


def plan_path(path: Path, options: Options) -> AnyPlan:
    """Return the plan of the first format that recognizes `path`.

    Args:
        path: a file or folder that exists, a pattern of shards, or the URL of shards.
        options: see `Options`.

    Raises:
        InputError: no format recognizes it, or the one that does refuses it.
    """
    path = local_path(path)
    if url_of(path) is not None or (shard_files.is_pattern(path) and not path.exists()):
        return shards.plan(path, options)
    if not path.is_dir():
        check_file(path)
    for row in FORMATS.values():
        if (place := row.find(path)) is not None:
            if not row.columns:
                check_no_column(options, f"{path} ({row.title})")
            plan = row.plan(place, options)
            if isinstance(plan, Plan):
                check_no_text(options, str(path))
            if place == path and row.name in ("features", "parquet") and user_data.holds_class_images(path):
                plan = dataclasses.replace(plan, notes=(_images_beside(path), *plan.notes))
            if place.parent != path or not place.is_file():
                return plan
            # one file is used and all others in the folder are ignored, so the user should know
            return dataclasses.replace(plan, notes=(f"read {place.name} in {path}", *plan.notes))
    ending = next((end for end in CONVERT if path.name.lower().endswith(end)), None)
    if ending is not None and path.is_file():
        raise InputError(f"{path} is {CONVERT[ending]}")
    looked = "; ".join(row.title for row in FORMATS.values())
    what = "a file" if path.is_file() else "a folder"
    raise InputError(
        f"{path} is {what} of no known format; looked for {looked}; noisylabels list formats shows the files "
        f"of each, such as {user_data.LAYOUT}"
    )
