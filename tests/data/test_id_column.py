"""A column of ids that the user names, in every format with named columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load
from noisylabels.experiment import load_config, run_id

N = 12
KEYS = [f"key-{i:02d}" for i in range(N)]
LABELS = [i % 2 for i in range(N)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def picture(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), 20 * i, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def text(path: Path, columns: dict[str, list[Any]]) -> Path:
    mark = "\t" if path.suffix == ".tsv" else ","
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join(mark.join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path


def rows(path: Path) -> Path:
    columns = {"customer": KEYS, "x": [i * 1.5 for i in range(N)], "label": LABELS}
    if path.suffix != ".parquet":
        return text(path, columns)
    pq.write_table(pa.table(columns), path)
    return path


def image_list(path: Path) -> Path:
    for i in range(N):
        path.with_name(f"{i}.png").write_bytes(picture(i))
    return text(path, {"path": [f"{i}.png" for i in range(N)], "customer": KEYS, "label": LABELS})


def images(path: Path) -> Path:
    table = {"image": [picture(i) for i in range(N)], "customer": KEYS, "label": LABELS}
    pq.write_table(pa.table(table), path)
    return path


FORMATS = {
    "csv": lambda folder: rows(folder / "t.csv"),
    "tsv": lambda folder: rows(folder / "t.tsv"),
    "parquet": lambda folder: rows(folder / "t.parquet"),
    "image list": lambda folder: image_list(folder / "t.csv"),
    "image Parquet": lambda folder: images(folder / "train.parquet"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_the_column_holds_the_ids(form: str, tmp_path: Path) -> None:
    source = FORMATS[form](tmp_path)
    for _ in range(2):  # images come from the cache the second time
        parts = load(source, id_column="customer")
        labels = {
            name: part.class_names[k] for part in parts for name, k in zip(part.ids, part.labels, strict=True)
        }
        assert labels == {key: str(label) for key, label in zip(KEYS, LABELS, strict=True)}
    assert not set(load(source)[0].ids) & set(KEYS)
    with pytest.raises(InputError, match=r"has no id column 'custmer'; did you mean 'customer'\?"):
        load(source, id_column="custmer")


@pytest.mark.parametrize("form", FORMATS)
def test_audit_review_and_corrections_know_these_ids(form: str, tmp_path: Path, capsys: Any) -> None:
    source = FORMATS[form](tmp_path)
    rows_of_probs = "".join(f"{key},{label},{1 - label}\n" for key, label in zip(KEYS, LABELS, strict=True))
    (tmp_path / "p.tsv").write_text(("id,1,0\n" + rows_of_probs).replace(",", "\t"))
    words = [str(source), "--id-column", "customer"]
    assert main(["audit", *words, "--probs", str(tmp_path / "p.tsv"), "--out", str(tmp_path / "a")]) == 0
    assert " 0 are flagged" in capsys.readouterr().out
    out = tmp_path / f"fixed{source.suffix}"
    assert main(["review", str(tmp_path / "a"), "--export", str(out), "--form", "input"]) == 0
    fixed = load(out, id_column="customer")
    assert sorted(name for part in fixed for name in part.ids) == KEYS
    assert main(["review", str(tmp_path / "a"), "--export", str(tmp_path / "c.tsv")]) == 0
    noise = ["noise", "symmetric:0.2", "--data", *words]
    assert main(noise) == 0
    parts = load(source, id_column="customer")
    again = (tmp_path / "c.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in again[1:]) == sorted(
        name for part in parts for name in part.ids
    )


def test_another_id_column_is_no_feature(tmp_path: Path) -> None:
    columns = {"id": [7 * i % 13 for i in range(N)], "key": KEYS, "x": LABELS, "label": LABELS}
    train, _ = load(text(tmp_path / "t.csv", columns), id_column="key")
    assert train.encoder.features == ("x",)
    assert "id column 'key' used, 'id' ignored" in train.notes


def test_predictions_have_the_ids_of_the_training_column(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    words = ["train", "--data", str(rows(tmp_path / "t.csv")), "--id-column", "customer", "--epochs", "1"]
    assert main([*words, "--loss", "ce", "--batch-size", "4", "--out", out]) == 0
    for column, more in (("customer", []), ("code", ["--id-column", "code"])):
        new = text(tmp_path / "new.csv", {"x": [1, 2], column: ["n1", "n2"]})
        assert main(["predict", out, str(new), *more, "--out", str(tmp_path / "p.csv")]) == 0
        lines = (tmp_path / "p.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["id", "n1", "n2"]


def test_what_has_no_columns_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((4, 2)), y=np.arange(4) % 2)
    (tmp_path / "p" / "a").mkdir(parents=True)
    (tmp_path / "p" / "b").mkdir()
    for source in ("digits", tmp_path / "a.npz", tmp_path / "p", (np.zeros((4, 2)), [0, 1, 0, 1])):
        with pytest.raises(InputError, match=r"(has|have) no named columns"):
            load(source, id_column="key")


@pytest.mark.parametrize("form", FORMATS)
def test_a_missing_id_names_its_row(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "KEYS", [*KEYS[:3], "", *KEYS[4:]])
    with pytest.raises(InputError, match=r"(line 5|row 3): the id is missing"):
        load(FORMATS[form](tmp_path), id_column="customer")


def test_run_ids_stay() -> None:
    plain = load_config(None, data="t.csv")
    assert run_id(plain) == run_id(load_config(None, data="t.csv", id_column=None))
    assert run_id(plain) != run_id(load_config(None, data="t.csv", id_column="key"))


def test_long_float_ids_of_a_frame(tmp_path: Path) -> None:
    import pandas as pd

    ids = [1234567890123450.0 + k for k in range(8)]
    frame = pd.DataFrame({"key": ids, "u": np.arange(8) / 2, "label": ["a", "b"] * 4})
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet"):
        found = [name for part in load(source, id_column="key") if part is not None for name in part.ids]
        assert sorted(found) == [str(int(one)) for one in ids]


def test_a_column_id_beside_the_named_one_is_no_feature_of_a_pair_either() -> None:
    import pandas as pd

    frame = pd.DataFrame({"key": KEYS, "id": range(100, 100 + N), "u": np.arange(N) / 2})
    sets = load((frame, LABELS), id_column="key"), load(frame.assign(label=LABELS), id_column="key")
    for train, test in sets:
        assert train.features.shape[1] == 1
        assert sorted([*train.ids, *test.ids]) == KEYS
        assert "id column 'key' used, 'id' ignored" in train.notes
