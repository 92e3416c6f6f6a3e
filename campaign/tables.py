"""Generators of tables: CSV, TSV and Parquet of features, of labels, of probabilities, of ids."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from campaign.cases import Case, Place, generator
from campaign.draw import ODD_NUMBERS, Draw

ROLES = (
    "label",
    "class",
    "target",
    "y",
    "id",
    "split",
    "path",
    "text",
    "image",
    "given",
    "features",
    "Unnamed: 0",
    "",
)


def rows_of(draw: Draw) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the cells of a table that can be trained on more often than not."""
    count, classes = (
        draw.choice((2, 12, 40, 40, 40)),
        draw.choice((("cat", "dog"), ("0", "1", "2"), ("1", "2"), ("yes", "no"))),
    )
    names = ["id", *(f"x{k}" for k in range(draw.randint(1, 4))), "label"]
    rows = [
        [
            str(i),
            *(draw.number_text() if draw.chance(0.02) else f"{draw.gauss(0, 1):.3f}" for _ in names[2:]),
            classes[i % len(classes)],
        ]
        for i in range(count)
    ]
    if draw.chance(0.2):
        names.append("color")
        rows = [[*row, draw.choice(("red", "green", "blue"))] for row in rows]
    if draw.chance(0.15):
        names.append("split")
        rows = [[*row, draw.choice(("train", "test"))] for row in rows]
    return names, rows


def spoil(draw: Draw, names: list[str], rows: list[list[str]]) -> None:
    """Change cells, headings and the lengths of rows."""
    for _ in range(draw.randint(1, 4)):
        way, row = draw.randrange(7), draw.choice(rows)
        if way == 0:
            names[draw.randrange(len(names))] = draw.often(lambda: draw.choice(ROLES), draw.odd_text, 0.6)
        elif way in (1, 2) and row:
            row[draw.randrange(len(row))] = draw.odd_text()
        elif way == 3:
            del row[draw.randint(0, len(row)) :]
        elif way == 4:
            row.append(draw.odd_text())
        elif way == 5:
            column, value = draw.randrange(len(names)), draw.odd_text()
            for each in rows:
                each[column : column + 1] = [value]
        else:
            rows.append(draw.choice(([], [""], list(row), [draw.odd_text()])))


def text_of(draw: Draw, names: list[str], rows: list[list[str]], separator: str) -> bytes:
    """Return a table as text, in an encoding and with line endings of some program."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator=draw.choice(("\n", "\n", "\r\n", "\r")))
    writer.writerows([names, *rows])
    encoding = draw.choice(("utf-8",) * 12 + ("utf-8-sig",) * 3 + ("utf-16", "latin-1"))
    return buffer.getvalue().encode(encoding, "replace")


def write_table(draw: Draw, path: Path, names: list[str], rows: list[list[str]]) -> None:
    """Write a table in the format of the suffix; a Parquet file gets the types that its cells allow."""
    if path.suffix == ".parquet":
        write_parquet(draw, path, names, rows)
        return
    separator = "\t" if path.suffix == ".tsv" else draw.choice(",,,,;")
    content = text_of(draw, names, rows, separator)
    path.write_bytes(draw.damaged(content) if draw.chance(0.08) else content)


def write_parquet(draw: Draw, path: Path, names: list[str], rows: list[list[str]]) -> None:
    """Write a Parquet file whose columns have usual or odd types."""
    columns = []
    for k in range(len(names)):
        cells = [row[k] if k < len(row) else None for row in rows]
        column = typed(cells)
        if draw.chance(0.05):
            column = odd_column(draw, len(rows))
        columns.append(column)
    table = pa.Table.from_arrays(columns, names=[str(name) for name in names])
    if draw.chance(0.1):
        table = table.replace_schema_metadata(
            {"huggingface": draw.choice(("{}", "[", "null", '{"info": 3}')), "pandas": "x"}
        )
    buffer, size = io.BytesIO(), draw.choice((1, 7, 1000))
    try:
        pq.write_table(table, buffer, row_group_size=size)
    except pa.ArrowNotImplementedError:  # a type that Parquet does not hold
        pq.write_table(pa.table({"id": list(range(len(rows)))}), buffer := io.BytesIO())
    content = buffer.getvalue()
    path.write_bytes(draw.damaged(content) if draw.chance(0.15) else content)


def typed(cells: list[Any]) -> pa.Array:
    """Return cells as integers, else as floats, else as texts."""
    for kind in (int, float):
        try:
            return pa.array([None if cell is None else kind(cell) for cell in cells])
        except (ValueError, OverflowError, pa.ArrowInvalid):
            continue
    return pa.array(
        [None if cell is None else cell.encode("utf-8", "replace").decode() for cell in cells], pa.string()
    )


def odd_column(draw: Draw, count: int) -> pa.Array:
    """Return a column of a type that few tables have."""
    values: list[Any]
    kind = draw.choice(
        (
            pa.null(),
            pa.bool_(),
            pa.binary(),
            pa.list_(pa.float32()),
            pa.date32(),
            pa.timestamp("ns"),
            pa.decimal128(20, 2),
            pa.float16(),
            pa.uint64(),
            pa.large_string(),
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            pa.map_(pa.string(), pa.int64()),
            pa.dictionary(pa.int32(), pa.string()),
            pa.time64("us"),
            pa.duration("s"),
            pa.list_(pa.int64(), 2),
            pa.int8(),
            pa.string(),
        )
    )
    try:
        values = [draw.choice((None, *ODD_NUMBERS, draw.odd_text())) for _ in range(count)]
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            values = [draw.choice((None, 0, 1, 2)) for _ in range(count)]
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            values = [draw.choice(("a", "b", None, "é")) for _ in range(count)]
            return (
                pa.array(values).cast(kind)
                if not pa.types.is_dictionary(kind)
                else pa.array(values).dictionary_encode()
            )
        elif pa.types.is_list(kind):
            values = [draw.choice(([1.0, 2.0], [1.0, 2.0], [], None)) for _ in range(count)]
        elif pa.types.is_struct(kind):
            values = [
                draw.choice(({"bytes": b"x", "path": None}, None, {"bytes": None, "path": "a.png"}))
                for _ in range(count)
            ]
        elif pa.types.is_boolean(kind):
            values = [draw.choice((True, False, None)) for _ in range(count)]
        else:
            values = [None] * count
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.nulls(count, kind)


READERS = ("noise", "noise", "noise", "audit", "train")


def words_for(draw: Draw, data: str) -> list[str]:
    """Return a command that reads a set, mostly the fastest that does."""
    verb = draw.choice(READERS)
    if verb == "noise":
        return ["noise", "symmetric:0.2", "--data", data]
    if verb == "train":
        return [
            "train",
            "--data",
            data,
            "--epochs",
            "1",
            "--out",
            "run",
            *(["--features", "none"] if draw.chance(0.5) else []),
        ]
    judge = ["--classifier", "logistic"] if draw.chance(0.5) else ["--epochs", "1"]
    return ["audit", data, "--folds", "2", "--out", "audit", *judge, "--features", "none"]


@generator("table of features", 6)
def features(draw: Draw, place: Place) -> Case:
    """Read a table of features in CSV, TSV or Parquet."""
    names, rows = rows_of(draw)
    if draw.chance(0.5):
        spoil(draw, names, rows)
    name = f"table.{draw.choice(('csv', 'tsv', 'parquet', 'parquet'))}"
    write_table(draw, place.inside / name, names, rows)
    words = words_for(draw, name)
    if draw.chance(0.15):
        words += [
            draw.choice(("--label-column", "--id-column", "--text-column")),
            draw.often(lambda: draw.choice(names) or "x", lambda: "x,y"),
        ]
    return Case([word.replace("\0", "") for word in words])


@generator("table of texts", 1)
def texts(draw: Draw, place: Place) -> Case:
    """Read a table with a column of sentences, encoded by TF-IDF."""
    names, rows = ["id", "text", "label"], []
    for i in range(draw.choice((8, 30))):
        sentence = " ".join(
            draw.choice(("the", "cat", "sat", "on", "a", "mat", "dogs", "bark", "loudly")) for _ in range(9)
        )
        rows.append([str(i), sentence if draw.chance(0.95) else draw.odd_text(), "ab"[i % 2]])
    if draw.chance(0.4):
        spoil(draw, names, rows)
    name = f"texts.{draw.choice(('csv', 'tsv', 'parquet'))}"
    write_table(draw, place.inside / name, names, rows)
    verb = draw.choice(
        (["embed", name, "--out", "f.npz"], ["train", "--data", name, "--epochs", "1", "--out", "run"])
    )
    return Case(
        [*verb, "--features", "tfidf", *(["--text-column", "text"] if draw.chance(0.7) else [])],
        written=["f.npz"],
    )


@generator("file of labels", 3)
def labels(draw: Draw, place: Place) -> Case:
    """Read labels for the photographs of the base from a file: corrected, noisy or trusted ones."""
    place.copy("photos", "photos")
    names = sorted(
        path.relative_to(place.inside / "photos").as_posix()
        for path in (place.inside / "photos").rglob("*.png")
    )
    kind = draw.choice(("labels", "corrected", "human", "trusted"))
    heading, rows = (
        [draw.choice(("id", "path", "id")), "worse_label" if kind == "human" else "label"],
        [[name, name[:3]] for name in names],
    )
    if kind == "trusted":
        heading, rows = ["id"], [[name] for name in draw.some(names[:-4], 1)]
    elif draw.chance(0.3):
        rows = [[name, draw.choice(("cat", "dog"))] for name in names]
    if draw.chance(0.5):
        spoil(draw, heading, rows)
    suffixes = {
        "human": ("parquet", "npy"),
        "trusted": ("csv", "txt", "parquet"),
        "corrected": ("csv", "parquet", "csv", "tsv"),
    }
    path = (
        place.inside
        / f"labels.{draw.choice(suffixes.get(kind, ('csv', 'tsv', 'parquet', 'json', 'txt', 'npy')))}"
    )
    _write_labels(draw, path, heading, rows)
    if kind == "labels":
        return Case(
            ["noise", f"labels:{path.name}", "--data", "photos", "--out", "n.parquet"], written=["n.parquet"]
        )
    if kind == "human":
        return Case(
            [
                "noise",
                f"human:{path.name}@{draw.choice(('worse', 'worse', 'random1', ''))}",
                "--data",
                "photos",
            ]
        )
    flag = "--labels" if kind == "corrected" else "--trusted"
    return Case(
        [
            "audit",
            "photos",
            "--folds",
            "2",
            "--epochs",
            "1",
            "--features",
            "none",
            flag,
            path.name,
            "--out",
            "audit",
        ]
    )


def _write_labels(draw: Draw, path: Path, heading: list[str], rows: list[list[str]]) -> None:
    """Write labels in the format of the suffix; JSON, text and NumPy hold them alone, in order."""
    plain: Any = [row[-1] if row else None for row in rows]
    if path.suffix == ".json":
        from campaign.texts import to_json

        path.write_text(to_json(draw.altered(plain) if draw.chance(0.5) else plain))
    elif path.suffix == ".txt":
        path.write_text("\n".join(map(str, plain)), encoding="utf-8", errors="replace")
    elif path.suffix == ".npy":
        import numpy as np

        from campaign.arrays import npy, odd_array

        array = np.array([int(cell == "dog") for cell in plain])
        path.write_bytes(npy(draw, odd_array(draw, array) if draw.chance(0.4) else array))
    else:
        write_table(draw, path, heading, rows)


@generator("file of probabilities", 3)
def probabilities(draw: Draw, place: Place) -> Case:
    """Audit the table of the base with given probabilities."""
    place.copy("table.csv", "table.csv")
    names, rows = [*draw.choice((["id"], [])), "cat", "dog"], []
    for i in range(40):
        p = draw.random()
        rows.append([str(i), f"{p:.4f}", f"{1 - p:.4f}"][-len(names) :])
    if draw.chance(0.6):
        spoil(draw, names, rows)
    suffix = draw.choice(("csv", "tsv", "parquet", "npy"))
    path = place.inside / f"probs.{suffix}"
    if suffix == "npy":
        import numpy as np

        from campaign.arrays import npy, odd_array

        array = np.array(
            [[1 - i % 2, i % 2] for i in range(40)], draw.choice(("float32", "float64", "int64", "float16"))
        )
        path.write_bytes(npy(draw, odd_array(draw, array) if draw.chance(0.6) else array))
    else:
        write_table(draw, path, names, rows)
    return Case(["audit", "table.csv", "--probs", path.name, "--out", "audit"])


@generator("file of features", 2)
def embeddings(draw: Draw, place: Place) -> Case:
    """Train on features from a file in place of the photographs' pixels."""
    import numpy as np

    from campaign.arrays import npy, npz, odd_array

    place.copy("photos", "photos")
    ids = sorted(
        path.relative_to(place.inside / "photos").as_posix()
        for path in (place.inside / "photos").rglob("*.png")
    )
    values = np.random.default_rng(draw.number).normal(size=(len(ids), 4)).astype(np.float32)
    suffix = draw.choice(("npz", "npy", "parquet", "csv"))
    path = place.inside / f"f.{suffix}"
    if suffix in ("npz", "npy"):
        values = odd_array(draw, values) if draw.chance(0.5) else values
        named = {
            draw.often(lambda: "ids", draw.odd_text): np.array(ids),
            draw.often(lambda: "features", draw.odd_text): values,
        }
        path.write_bytes(npz(draw, named) if suffix == "npz" else npy(draw, values))
    else:
        heading = ["id", *(f"f{k}" for k in range(4))]
        rows = [[name, *map(str, row)] for name, row in zip(ids, values.tolist(), strict=True)]
        if draw.chance(0.5):
            spoil(draw, heading, rows)
        write_table(draw, path, heading, rows)
    return Case(["train", "--data", "photos", "--features", path.name, "--epochs", "1", "--out", "run"])
