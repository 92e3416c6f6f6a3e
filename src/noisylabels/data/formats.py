"""What a path may hold: a row for each form in which data sets are kept on disk.

A new form is a file with `find` and `plan`, and a row here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import InputError
from noisylabels.core.registry import Registry
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
    user_data,
    webvision,
)
from noisylabels.data.feature_table import TablePlan
from noisylabels.data.reader import Options, Plan


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Args:
        name: what to call it.
        title: one line on what it is.
        layout: the files and folders by which it is known, in words.
        find: gives the place that `plan` wants if a path is or holds this, else None; looks at names and
            headings only.
        plan: makes the plan of reading what was found.
        columns: whether it has columns with names, of which one may be named for the labels.
    """

    name: str
    title: str
    layout: str
    find: Callable[[Path], Path | None]
    plan: Callable[[Path, Options], Plan | TablePlan]
    columns: bool = False


FORMATS: Registry[Format] = Registry("format")
# The order decides: what is known by names of its own comes before what many folders look like.
for _row in (
    *(
        Format(one.name, f"{title} as its authors publish it", one.layout, one.find, one.plan)
        for one, title in ((cifar.CIFAR10, "CIFAR-10"), (cifar.CIFAR100, "CIFAR-100"))
    ),
    Format("idx", "IDX files, as of MNIST and its kin", idx.LAYOUT, idx.find, idx.plan),
    Format("webvision", "WebVision 1.0, the Google images", webvision.LAYOUT, webvision.find, webvision.plan),
    Format("clothing1m", "Clothing1M", clothing1m.LAYOUT, clothing1m.find, clothing1m.plan),
    Format("food101n", "Food-101N, with Food-101 for testing", food101n.LAYOUT, food101n.find, food101n.plan),
    Format(
        "animal10n", "ANIMAL-10N, images or binary batches", animal10n.LAYOUT, animal10n.find, animal10n.plan
    ),
    Format(
        "features",
        "a table of numbers",
        feature_table.LAYOUT,
        feature_table.find,
        feature_table.plan,
        columns=True,
    ),
    Format("parquet", "Hugging Face image Parquet", parquet.LAYOUT, parquet.find, parquet.plan, columns=True),
    Format("arrays", "NumPy arrays", arrays.LAYOUT, arrays.find, arrays.plan),
    Format(
        "table",
        "a CSV or TSV table of paths and labels",
        image_table.LAYOUT,
        image_table.find,
        image_table.plan,
        columns=True,
    ),
    Format("folders", "images, a folder a class", user_data.LAYOUT, user_data.find, user_data.plan),
):
    FORMATS.add(_row.name, _row)


def plan_path(path: Path, options: Options) -> Plan | TablePlan:
    """Return the plan of the first format that knows `path`.

    Args:
        path: a file or folder that exists.
        options: see `Options`.

    Raises:
        InputError: no format knows it; or the one that does finds something wrong with it.
    """
    for row in FORMATS.values():
        if (place := row.find(path)) is not None:
            if options.label_column is not None and not row.columns:
                raise InputError(
                    f"{path} is {row.title}, of which no column is that of the labels; leave out "
                    "--label-column (label_column=)"
                )
            plan = row.plan(place, options)
            if place.parent != path or not place.is_file():
                return plan
            # one file decides over all else that the folder holds, so the user should know
            return dataclasses.replace(plan, notes=(f"read {place.name} in {path}", *plan.notes))
    looked = "; ".join(row.title for row in FORMATS.values())
    what = "a file" if path.is_file() else "a folder"
    raise InputError(
        f"{path} is {what} of no known format; looked for {looked}; noisylabels list formats shows the files "
        f"of each, such as {user_data.LAYOUT}"
    )
