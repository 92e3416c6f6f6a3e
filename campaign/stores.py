"""Generators of stores: study folders, exported results, the review's SQLite, the cache."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from campaign.cases import Case, Place, generator
from campaign.draw import ODD_NUMBERS, Draw
from campaign.folders import harm, harm_file, trap


@generator("study folder", 4)
def study(draw: Draw, place: Place) -> Case:
    """Show, export, report on or resume a study whose folder is damaged."""
    folder = place.copy("study", "study")
    place.copy("study.toml", "study.toml")
    if draw.chance(0.85):
        harm(draw, place, folder)
    if draw.chance(0.3):
        trap(draw, place, draw.choice([folder, *(path for path in folder.iterdir() if path.is_dir())]))
    if draw.chance(0.1):
        cell = draw.choice(sorted(path for path in folder.iterdir() if path.is_dir()))
        cell.rename(folder / draw.choice(("x", "copy-of-" + cell.name, cell.name[:-1])))
    verb = draw.randrange(6)
    if verb == 0:
        return Case(["study", "run", "study.toml", "--jobs", "0", "--out", "study"])
    if verb == 1:
        return Case(["report", "study", "--out", "report", "--formats"])
    if verb in (2, 3):
        return Case(["study", "export", "study", "--file", "rows.parquet"], written=["rows.parquet"])
    return Case(["study", "status", "study"])


@generator("exported results", 2)
def rows(draw: Draw, place: Place) -> Case:
    """Restore from, or report on, a damaged file of results."""
    path = place.copy("study.parquet", "rows.parquet")
    place.copy("study.toml", "study.toml")
    if draw.chance(0.85):
        for _ in range(draw.randint(1, 2)):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(Exception):  # what an earlier change left cannot be read
                    harm_file(draw, place, path)
    if draw.chance(0.25):
        return Case(["report", "rows.parquet", "--out", "report", "--formats"])
    return Case(
        [
            "study",
            draw.choice(("run",)),
            "study.toml",
            "--jobs",
            "0",
            "--out",
            "study",
            "--from",
            "rows.parquet",
        ]
    )


def altered_base(draw: Draw, path: Path) -> None:
    """Change the tables of a SQLite file: values, types, columns, whole tables."""
    with contextlib.closing(sqlite3.connect(path)) as base, contextlib.suppress(sqlite3.Error):
        tables = [
            row[0]
            for row in base.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        table = draw.choice(tables)
        columns = [row[1] for row in base.execute(f'PRAGMA table_info("{table}")')]
        column, way = draw.choice(columns), draw.randrange(7)
        if way == 0:
            base.execute(f'DROP TABLE "{table}"')
        elif way == 1:
            base.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO other')
        elif way == 2:
            base.execute(f'DELETE FROM "{table}"')
        elif way == 3:
            base.execute("PRAGMA user_version = 99")
        elif way == 4:
            base.execute(f'CREATE TRIGGER t AFTER INSERT ON "{table}" BEGIN DELETE FROM "{table}"; END')
        else:
            odd = draw.choice(
                (None, b"\xff", draw.odd_text(), 2**63 - 1, 0.5, *(n for n in ODD_NUMBERS if abs(n) < 2**62))
            )
            base.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ?', (odd,))
        base.commit()


@generator("review store", 2)
def review(draw: Draw, place: Place) -> Case:
    """Export corrections from a damaged review store."""
    folder = place.copy("audit-photos", "audit")
    place.copy("photos", "photos")
    path = folder / "review.sqlite"
    if draw.chance(0.5):
        altered_base(draw, path)
    else:
        path.write_bytes(draw.damaged(path.read_bytes()))
    for suffix in ("-journal", "-wal", "-shm"):
        if draw.chance(0.1):
            path.with_name(path.name + suffix).write_bytes(draw.bits(512))
    out = draw.choice(("corrected.csv", "corrected.parquet", "corrected"))
    return Case(["review", "audit", "--export", out], written=[out] if "." in out else [])


@generator("cache", 3)
def cache(draw: Draw, place: Place) -> Case:
    """Read the photographs of the base through a damaged cache."""
    import shutil

    place.copy("photos", "photos")
    shutil.copytree(place.base / "cache", place.cache, dirs_exist_ok=True)
    harm(draw, place, place.cache)
    if draw.chance(0.3):
        trap(draw, place, place.cache)
    if draw.chance(0.5):
        from campaign.bases import pixels_of

        sound = (place.base / "pixels.txt").read_text()

        def call() -> int:
            if pixels_of("photos") != sound:
                raise RuntimeError("other pixels than those of the files were loaded")
            return 0

        return Case(call=call)
    case = draw.choice(
        (["noise", "symmetric:0.2"], ["train", "--epochs", "1", "--features", "none", "--out", "run"])
    )
    return Case([*case, "--data", "photos"])


@generator("notes of a study", 1)
def notes(draw: Draw, place: Place) -> Case:
    """Show a study whose list of cells names cells that are not there, or odd ones."""
    folder = place.copy("study", "study")
    tree = json.loads((folder / "study.json").read_text())
    cells = tree["cells"]
    name = draw.choice(sorted(cells))
    other = draw.choice(("../outside", "/", "..", "x\x1b[31m", "a/b", "", "é", "n" * 300, "\ud800"))
    cells[other] = draw.altered(cells[name]) if draw.chance(0.5) else cells[name]
    (folder / "study.json").write_text(json.dumps(tree))
    verb = draw.choice((["status", "study"], ["export", "study", "--file", "rows.parquet"]))
    return Case(["study", *verb], written=["rows.parquet"])
