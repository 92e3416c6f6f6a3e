"""Labels that were corrected and are trusted: the data say what they were, which narrows the noise rate."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisylabels as nl
from noisylabels.audit import saved_probs
from noisylabels.audit.labels_before import labels_before
from noisylabels.audit.result import Audit
from noisylabels.noise.noise_rate import JUDGES

QUICK = {"model": "mlp", "width": 0.2, "epochs": 4, "folds": 2, "device": "cpu"}
N = 400


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def files(folder: Path) -> tuple[Path, Path, Path, np.ndarray, np.ndarray]:
    """Write a table, the corrected labels of a half of it, and the ids of that half."""
    draw = np.random.default_rng(0)
    true = np.arange(N) % 2
    given = np.where(draw.random(N) < 0.2, 1 - true, true)
    values = draw.normal(size=(N, 4)) + 1.5 * np.eye(2, 4)[true]
    known = np.arange(N) % 4 < 2
    words = np.array(["ant", "bee"])

    def write(name: str, head: str, rows: list[str]) -> Path:
        path = folder / name
        path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
        return path

    table = [f"r{i},{','.join(map(str, values[i].round(3)))},{words[given[i]]}" for i in range(N)]
    right = [f"r{i},{words[true[i]]}" for i in range(N) if known[i]]
    return (
        write("t.csv", "id,a,b,c,d,label", table),
        write("corrected.csv", "id,label", right),
        write("ids.csv", "id", [f"r{i}" for i in range(N) if known[i]]),
        given,
        np.where(known, given != true, False),
    )


def test_corrected_labels_narrow_the_interval_of_the_others(tmp_path: Path) -> None:
    data, corrected, ids, given, wrong = files(tmp_path)
    how = QUICK | {"labels": str(corrected)}
    found = nl.audit_labels(data, trusted=str(ids), out=tmp_path / "a", **how)  # type: ignore[arg-type]
    said = found.summary["trusted"]
    assert (said["count"], said["compared"], said["wrong"]) == (N // 2, N // 2, int(wrong.sum()))
    rate = found.summary["rate"]
    others = np.arange(N) % 4 >= 2
    truth = (given != np.arange(N) % 2)[others].mean()
    assert rate["low"] <= truth <= rate["high"]
    # the same labels, but those before are unknown: they are in the table
    fixed = data.read_text().splitlines()
    new = dict(line.split(",") for line in corrected.read_text().splitlines()[1:])
    lines = []
    for line in fixed:
        rest, _, label = line.rpartition(",")
        lines.append(f"{rest},{new.get(line.split(',')[0], label)}")
    (tmp_path / "fixed.csv").write_text("\n".join([*lines, ""]))
    plain = nl.audit_labels(tmp_path / "fixed.csv", trusted=str(ids), **QUICK)  # type: ignore[arg-type]
    assert "compared" not in plain.summary["trusted"]
    wide = plain.summary["rate"]
    assert rate["high"] - rate["low"] < wide["high"] - wide["low"]
    again = Audit.load(tmp_path / "a")
    np.testing.assert_allclose(again.probs, found.probs, atol=1e-5)
    assert again.summary == found.summary


def test_labels_before_are_those_of_the_data(tmp_path: Path) -> None:
    data, corrected, _, given, _ = files(tmp_path)
    trusted = np.arange(N) % 3 == 0
    ids = [f"r{i}" for i in range(N)]
    asked = {"data": str(data), "labels": str(corrected)}
    found = labels_before(asked, ids, trusted, ("ant", "bee"))
    assert found is not None
    np.testing.assert_array_equal(found, np.where(trusted, given, -1))
    assert labels_before(asked | {"labels": None}, ids, trusted, ("ant", "bee")) is None
    assert labels_before(asked, ids, trusted, ("ant", "cat")) is None
    strange = labels_before(asked, ["other", *ids[1:]], trusted, ("ant", "bee"))
    assert strange is not None
    assert strange[0] == -1


def test_an_audit_of_several_judges_is_loaded_as_it_was(tmp_path: Path) -> None:
    """The noise models are fitted to the labels before, and not to those that are known to be right."""
    data, corrected, ids, given, _ = files(tmp_path)
    true, draw = np.arange(N) % 2, np.random.default_rng(3)
    probs = []
    for strength in (2.5, 3.0, 2.0):  # out of fold, during training, and of the network alone
        scores = draw.normal(size=(N, 2))
        scores[np.arange(N), true] += strength
        made = np.exp(scores)
        probs.append((made / made.sum(axis=1, keepdims=True)).astype(np.float32))
    out, seen, network = probs
    names = [f"r{i}" for i in range(N)]
    (tmp_path / "p").mkdir()
    saved_probs.write_probs(
        tmp_path / "p", names, np.arange(N), ("ant", "bee"), out, seen, None, JUDGES, network
    )
    how = {"labels": str(corrected), "trusted": str(ids), "probs": tmp_path / "p" / "probs.parquet"}
    found = nl.audit_labels(data, out=tmp_path / "a", **how)  # type: ignore[arg-type]
    again = Audit.load(tmp_path / "a")
    np.testing.assert_array_equal(again.probs, found.probs)
    assert again.notes == found.notes
    assert again.before is not None
    known = np.arange(N) % 4 < 2
    np.testing.assert_array_equal(again.before, np.where(known, given, -1))
    rows = list(csv.DictReader((tmp_path / "a" / "labels.csv").read_text().splitlines()))
    words = {int(row["index"]): row["before"] for row in rows}
    assert [words[i] for i in range(N)] == [["ant", "bee"][given[i]] if known[i] else "" for i in range(N)]
    again.save(tmp_path / "b")
    assert (tmp_path / "b" / "labels.csv").read_bytes() == (tmp_path / "a" / "labels.csv").read_bytes()


def test_a_folder_without_the_labels_before_is_still_read(tmp_path: Path) -> None:
    data, corrected, ids, _, _ = files(tmp_path)
    how = QUICK | {"labels": str(corrected), "trusted": str(ids)}
    found = nl.audit_labels(data, out=tmp_path / "a", **how)  # type: ignore[arg-type]
    path = tmp_path / "a" / "labels.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["before"]), path)
    again = Audit.load(tmp_path / "a")
    assert again.before is None
    np.testing.assert_allclose(again.probs, found.probs, atol=1e-5)
    assert again.notes == found.notes
