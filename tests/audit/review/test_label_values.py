"""Corrected labels come back as they were written, in the type of the data's own column, in every form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisylabels as nl
from data_forms import FILES, FORMS, KINDS
from noisylabels.audit.review.export import export
from noisylabels.audit.review.session import Session
from noisylabels.core.labels import name_of

N = 12


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore:classes that look like one:UserWarning")  # test_label_forms tests it
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FILES)
def test_labels_come_back_as_written(form: str, kind: str, tmp_path: Path) -> None:
    classes = KINDS[kind]
    made = FORMS[form](tmp_path, [classes[k % len(classes)] for k in range(N)])
    names = list(map(name_of, classes))
    given = list(map(name_of, made.labels))
    np.save(tmp_path / "probs.npy", np.eye(len(classes))[[names.index(name) for name in given]])
    audit = nl.audit_labels(made.source, probs=tmp_path / "probs.npy", out=tmp_path / "found")
    assert audit.class_names == tuple(names)
    assert audit.flagged.sum() == 0
    rows = nl_rows(tmp_path / "found")
    assert {row["given"] for row in rows} == set(names)

    session = Session(tmp_path / "found")
    place = list(audit.ids).index(made.ids[0])
    wanted = names[1] if given[0] == names[0] else names[0]
    session.decide("e", place, "chosen", names.index(wanted))
    expected = [wanted, *given[1:]]
    done = export(session, tmp_path / "labels.csv", "labels")
    assert (done.labels, done.changed) == (N, 1)
    lines = (tmp_path / "labels.csv").read_text().splitlines()[1:]
    assert dict(line.rsplit(",", 1) for line in lines) == dict(zip(made.ids, expected, strict=True))

    again, test = nl.load(made.source)
    corrected = nl.audit_labels(made.source, labels=tmp_path / "labels.csv", probs=tmp_path / "probs.npy")
    by_id = {name: names[k] for name, k in zip(corrected.ids, corrected.given.tolist(), strict=True)}
    assert by_id == dict(zip(made.ids, expected, strict=True))
    assert len(again) + len(test) == N

    if form == "npy":  # has no form of its own
        session.store.close()
        return
    target = beside(made.source)
    export(session, target, "input")
    session.store.close()
    if form in ("csv", "tsv"):
        separator = "," if form == "csv" else "\t"
        found = [line.split(separator)[-1] for line in target.read_text().splitlines()[1:]]
        assert found == [str(value) for value in values(expected, classes)]
    elif form == "parquet":
        before, after = (pq.read_table(path) for path in (made.source, target))
        assert after.schema == before.schema
        assert after["label"].to_pylist() == values(expected, classes)
    elif form in ("npz", "image_npz"):
        name = "y" if form == "npz" else "labels"
        before, after = (np.load(path)[name] for path in (made.source, target))
        assert after.dtype.kind == before.dtype.kind
        assert after.tolist() == values(expected, classes)
    train, rest = nl.load(target)
    assert train.class_names == tuple(names)
    counted = [train.class_names[k] for part in (train, rest) for k in part.labels.tolist()]
    assert sorted(counted) == sorted(expected)


def values(names: list[str], classes: tuple[Any, ...]) -> list[Any]:
    of_name = {name_of(value): value for value in classes}
    return [of_name[name] for name in names]


def beside(source: Path) -> Path:
    return source.with_name(f"fixed{source.suffix}")


def nl_rows(folder: Path) -> list[dict[str, str]]:
    import csv

    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["spaces", "number"])
def test_classes_that_differ_in_what_a_spreadsheet_changes_are_not_confused(
    kind: str, tmp_path: Path
) -> None:
    classes = ("cat", "cat ") if kind == "spaces" else ("1", "01")
    made = FORMS["parquet"](tmp_path, [classes[k % 2] for k in range(N)])
    probs = np.eye(2)[np.arange(N) % 2]
    with pytest.warns(UserWarning, match="classes that look like one"):
        audit = nl.audit_labels(made.source, probs=probs, out=tmp_path / "found")
    session = Session(tmp_path / "found")
    export(session, tmp_path / "labels.csv", "labels")
    session.store.close()
    with pytest.warns(UserWarning, match="classes that look like one"):
        again = nl.audit_labels(made.source, labels=tmp_path / "labels.csv", probs=probs)
    assert again.given.tolist() == audit.given.tolist()
    assert set(audit.class_names) == set(classes)
