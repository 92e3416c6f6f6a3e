"""Generators of folders that the program writes, as somebody else may hand them over: damaged, with traps."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from campaign.cases import Case, Place, generator
from campaign.draw import Draw
from campaign.texts import to_json


def harm(draw: Draw, place: Place, folder: Path, most: int = 2) -> None:
    """Damage one to `most` files of a folder, each by its structure, its bytes, or as a whole."""
    for _ in range(draw.randint(1, most)):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            harm_file(draw, place, draw.choice(files))


def harm_file(draw: Draw, place: Place, path: Path) -> None:
    """Damage one file."""
    way = draw.random()
    if way < 0.5 and path.suffix in READABLE:
        with contextlib.suppress(Exception):  # an earlier change has left what cannot be read
            READABLE[path.suffix](draw, path)
            return
    if way < 0.75:
        path.write_bytes(draw.damaged(path.read_bytes()))
    else:
        replace(draw, place, path)


def replace(draw: Draw, place: Place, path: Path) -> None:
    """Put something else in the place of a file: nothing, a folder, a link, a pipe, another file."""
    kind, mode = draw.randrange(9), path.stat().st_mode & 0o777
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    content = draw.choice(others).read_bytes() if others else b""
    path.unlink()
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(place.outside / "precious0.txt")
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        path.write_bytes(content)
    elif kind == 6:
        path.symlink_to("/dev/zero")
    elif kind == 7:
        path.symlink_to(place.outside / "new.txt")  # writing through it would make a file outside
    if path.is_file() and not path.is_symlink():
        path.chmod(mode)


def harm_json(draw: Draw, path: Path) -> None:
    """Change values of a JSON file."""
    tree = json.loads(path.read_text())
    path.write_text(to_json(draw.altered(tree)))


def harm_lines(draw: Draw, path: Path) -> None:
    """Change, repeat, move or cut lines of a file of JSON lines."""
    lines = path.read_text().splitlines()
    at = draw.randrange(len(lines))
    way = draw.randrange(4)
    if way < 2:
        lines[at] = to_json(draw.altered(json.loads(lines[at])))
    elif way == 2:
        lines.insert(draw.randint(0, len(lines)), lines[at])
    else:
        lines[at] = lines[at][: draw.randint(0, len(lines[at]))]
    path.write_text("\n".join(lines) + "\n" * draw.chance(0.8))


def harm_parquet(draw: Draw, path: Path) -> None:
    """Give a column of a Parquet file another type or name, or leave it out."""
    import pyarrow.parquet as pq

    from campaign.tables import odd_column

    table = pq.read_table(path)
    for _ in range(draw.randint(1, 2)):
        if not table.num_columns:
            break
        at, way = draw.randrange(table.num_columns), draw.randrange(5)
        if way == 0:
            table = table.remove_column(at)
        elif way == 1:
            table = table.rename_columns(
                [
                    draw.odd_text().replace("\ud800", "") if k == at else n
                    for k, n in enumerate(table.column_names)
                ]
            )
        elif way == 2:
            table = table.slice(0, draw.randint(0, table.num_rows))
        elif way == 3:
            import pyarrow as pa

            table = pa.concat_tables([table, table])
        else:
            table = table.set_column(at, table.column_names[at], odd_column(draw, table.num_rows))
    if draw.chance(0.2):
        table = table.replace_schema_metadata(
            {key: draw.odd_text() for key in (table.schema.metadata or {b"x": b""})}
        )
    path.unlink()
    pq.write_table(table, path)


def harm_csv(draw: Draw, path: Path) -> None:
    """Change cells of a CSV file."""
    import csv

    from campaign.tables import spoil, text_of

    with path.open(newline="") as file:
        names, *rows = list(csv.reader(file))
    spoil(draw, names, rows or [[]])
    path.write_bytes(text_of(draw, names, rows, ","))


def harm_tensors(draw: Draw, path: Path) -> None:
    """Change the header of a safetensors file."""
    from campaign.tensors import altered_header

    path.write_bytes(altered_header(draw, path.read_bytes()))


def harm_checkpoint(draw: Draw, path: Path) -> None:
    """Change the tree of a checkpoint, or plant code in it."""
    from campaign.tensors import altered_checkpoint

    altered_checkpoint(draw, path)


def harm_base(draw: Draw, path: Path) -> None:
    """Change the tables of a SQLite file."""
    from campaign.stores import altered_base

    altered_base(draw, path)


READABLE = {
    ".json": harm_json,
    ".jsonl": harm_lines,
    ".parquet": harm_parquet,
    ".csv": harm_csv,
    ".safetensors": harm_tensors,
    ".pt": harm_checkpoint,
    ".sqlite": harm_base,
}


def trap(draw: Draw, place: Place, folder: Path) -> None:
    """Plant links at names that the program writes, and user code that the folder's files name."""
    if draw.chance(0.4):
        name = draw.choice(
            (
                ".lock",
                "history.jsonl",
                "checkpoint.pt",
                "result.json",
                "folds",
                "review.sqlite",
                "labels.csv",
                "page.html",
                "audit.json",
                "study.json",
                "environment.json",
                "review.sqlite-journal",
                ".lock.tmp",
            )
        )
        path = folder / name
        if not path.exists() and not path.is_symlink():
            path.symlink_to(place.outside / draw.choice(("precious1.txt", "folder", "new.txt")))
    if draw.chance(0.4):
        for path in (
            sorted(folder.rglob("config.json"))
            + sorted(folder.rglob("study.json"))
            + sorted(folder.rglob("audit.json"))
        ):
            if path.is_file() and not path.is_symlink():
                _name_code(draw, place, path)


def _name_code(draw: Draw, place: Place, path: Path) -> None:
    code = place.inside / "evil.py"
    code.write_text(
        f"open({str(place.marker)!r}, 'w').write('run')\n\ndef build(*a, **k):\n    raise SystemExit(0)\n"
    )
    try:
        text = path.read_text()
        tree = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return
    key = draw.choice(("model", "loss", "features"))
    configs = (
        [cell.get("config") for cell in tree["cells"].values()]
        if isinstance(tree, dict) and isinstance(tree.get("cells"), dict)
        else [tree]
    )
    for config in configs:
        if isinstance(config, dict):
            config[key] = draw.choice((f"{code}:build", "evil.py:build", "evil:build"))
    path.write_text(json.dumps(tree))


def _damaged(draw: Draw, place: Place, names: tuple[str, ...], target: str) -> str:
    """Copy one of the base's folders, damage it, put its data beside it, and return its name."""
    name = draw.choice(names)
    folder = place.copy(name, target)
    if draw.chance(0.85):
        harm(draw, place, folder)
    if draw.chance(0.3):
        trap(draw, place, folder)
    place.copy("photos", "photos")
    place.copy("table.csv", "table.csv")
    return name


@generator("run folder", 4)
def run(draw: Draw, place: Place) -> Case:
    """Resume, show, predict with, or report on a run whose folder is damaged."""
    name = _damaged(draw, place, ("run-table", "run-photos", "run-begun", "run-begun"), "run")
    if name == "run-begun" or draw.chance(0.3):
        # the recipe holds what the run of the base was started with
        return Case(["train", str(place.copy(f"{name}.toml", "recipe.toml").name), "--out", "run"])
    if draw.chance(0.2):
        return Case(["report", "run", "--out", "report", "--formats"])
    new = "table.csv" if name == "run-table" else "photos"
    return Case(["predict", "run", new, "--out", "labels.csv"], written=["labels.csv"])


@generator("audit folder", 4)
def audit(draw: Draw, place: Place) -> Case:
    """Export from, show again, or resume an audit whose folder is damaged."""
    name = _damaged(draw, place, ("audit-table", "audit-photos", "audit-photos", "audit-begun"), "audit")
    if name == "audit-begun" or draw.chance(0.3):
        data = "table.csv" if name == "audit-table" else "photos"
        return Case(["audit", data, "--epochs", "1", "--features", "none", "--folds", "2", "--out", "audit"])
    out = draw.choice(("corrected.csv", "corrected.tsv", "corrected.parquet", "corrected", "corrected"))
    return Case(["review", "audit", "--export", out], written=[out] if "." in out else [])
