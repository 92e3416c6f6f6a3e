"""Columns that identify rows are never passed over, in no file that the user brings beside the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.experiment.reporter import Notes
from noisylabels.noise.label_files import read_labels

N = 30
KEYS = [f"s{k}" for k in range(N)]
LABELS = ["cat" if k % 3 else "dog" for k in range(N)]
SHUFFLED = np.random.default_rng(2).permutation(N)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def table(**more: object) -> str:
    values = {"u": np.linspace(0, 1, N), "v": np.arange(N) % 7 / 2}
    pd.DataFrame({**more, **values, "label": LABELS}).to_csv("data.csv", index=False)
    return "data.csv"


def probs_of(index: object = None) -> pd.DataFrame:
    """Return probabilities that agree with all labels."""
    dog = np.array([0.9 if label == "dog" else 0.1 for label in LABELS]) - np.linspace(0, 0.01, N)
    frame = pd.DataFrame({"cat": 1 - dog, "dog": dog})
    return frame if index is None else frame.set_index(index)


def agreement(**options: object) -> float:
    found = nl.audit_labels("data.csv", **options)
    return float((found.probs.argmax(1) == found.given).mean())


def test_the_named_id_column_is_the_id_everywhere() -> None:
    table(key=KEYS)
    probs_of(pd.Index(KEYS, name="key")).iloc[SHUFFLED].to_csv("probs.csv")
    assert agreement(probs="probs.csv", id_column="key") == 1
    pd.DataFrame({"key": ["s4", "s1"], "label": ["dog", ""]}).to_csv("fixed.csv", index=False)
    found = nl.audit_labels("data.csv", probs="probs.csv", id_column="key", labels="fixed.csv")
    assert found.class_names[found.given[found.ids.index("s4")]] == "dog"
    assert "s1" not in found.ids
    pd.DataFrame({"key": ["s4", "s1"], "note": ["", "seen"]}).to_csv("trusted.csv", index=False)
    found = nl.audit_labels("data.csv", probs="probs.csv", id_column="key", trusted="trusted.csv")
    assert [name for name, one in zip(found.ids, found.trusted, strict=True) if one] == ["s1", "s4"]


@pytest.mark.parametrize("name", ["sample_id", "row", "key", "", "__index_level_0__"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_unknown_column_of_ids_is_matched_or_refused(name: str, suffix: str) -> None:
    table(id=KEYS)

    def write(cells: object) -> str:
        frame = probs_of(pd.Index(cells, name=name)).iloc[SHUFFLED].reset_index()
        path = f"probs.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
        return path

    notes = Notes(lambda line: lines.append(line))
    lines: list[str] = []
    assert agreement(probs=write(KEYS), reporter=notes) == 1
    assert any("holds the ids of data" in line for line in lines)
    for cells in (np.arange(N), [f"other{k}" for k in range(N)], np.arange(N) + 1.0):
        with pytest.raises(InputError, match="all differ, as ids do"):
            agreement(probs=write(cells))


def test_columns_that_agree_with_the_order_are_dropped() -> None:
    table(id=KEYS)
    probs_of().to_csv("probs.csv")  # an index without a name
    assert agreement(probs="probs.csv") == 1
    probs_of().assign(row=np.arange(N), margin=np.linspace(0, 0.7, N)).to_parquet("probs.parquet")
    assert agreement(probs="probs.parquet") == 1


def test_a_feature_called_index_is_no_row() -> None:
    table(index=SHUFFLED)
    frame = probs_of()
    frame.assign(index=SHUFFLED).to_csv("probs.csv", index=False)
    with pytest.raises(InputError, match="both have a column 'index'"):
        agreement(probs="probs.csv")
    frame.assign(index=np.arange(N)).to_csv("probs.csv", index=False)
    with pytest.raises(InputError, match="both have a column 'index'"):  # rows, or the cells of the data
        agreement(probs="probs.csv")
    table(index=np.arange(N) % 3)  # no key
    assert agreement(probs="probs.csv") == 1
    table()
    frame.assign(index=np.arange(N)).iloc[SHUFFLED].to_csv("probs.csv", index=False)
    assert agreement(probs="probs.csv") == 1
    frame.assign(index=np.arange(N) + 1).to_csv("probs.csv", index=False)
    with pytest.raises(InputError, match=f"the index is '{N}', expected a row of data, 0 to {N - 1}"):
        agreement(probs="probs.csv")


@pytest.mark.parametrize("name", ["sample_id", "index", "key"])
def test_label_files_of_noise(name: str) -> None:
    codes = [int(label == "dog") for label in LABELS]
    frame = pd.DataFrame({name: KEYS, "label": LABELS}).iloc[SHUFFLED]
    frame.to_csv("labels.csv", index=False)
    options = {"num_classes": 2, "class_names": ["cat", "dog"], "ids": KEYS}
    found = read_labels("labels.csv", **options)
    assert found.given.tolist() == codes
    assert found.by_ids
    assert read_labels("labels.csv", **options, id_column=name).given.tolist() == codes
    frame.assign(**{name: SHUFFLED}).to_csv("labels.csv", index=False)
    with pytest.raises(InputError, match="all differ, as ids do"):
        read_labels("labels.csv", **options)
    table(key=KEYS)
    pd.DataFrame({"key": KEYS, "label": LABELS}).iloc[SHUFFLED].to_csv("labels.csv", index=False)
    train, _ = nl.load("data.csv", id_column="key")
    _, labels = nl.corrupt_set(train, "labels:labels.csv", test=_, id_column="key")
    assert labels.rate == 0


def test_probabilities_of_an_audit_notice_another_order(tmp_path: Path) -> None:
    table()
    probs_of().to_csv("probs.csv", index=False)
    nl.audit_labels("data.csv", probs="probs.csv", out="a")
    assert agreement(probs="a/probs.parquet") == 1
    pd.DataFrame({"id": ["row:4", "row:1"], "label": ["dog", ""]}).to_csv("fixed.csv", index=False)
    nl.audit_labels("data.csv", probs="a/probs.parquet", labels="fixed.csv")  # labels may differ
    frame = pd.read_csv("data.csv")
    frame.assign(w=frame.v * 2).to_csv("data.csv", index=False)
    lines: list[str] = []
    assert agreement(probs="a/probs.parquet", reporter=Notes(lines.append)) == 1
    assert any("make sure that it is in the same order" in line for line in lines)
    frame.iloc[SHUFFLED].to_csv("data.csv", index=False)
    with pytest.raises(InputError, match="was another example when it was audited"):
        nl.audit_labels("data.csv", probs="a/probs.parquet")
    X, y = frame[["u", "v"]].to_numpy(), np.array(LABELS)
    nl.audit_labels(X, labels=y, probs="a/probs.parquet")
    with pytest.raises(InputError, match="was another example when it was audited"):
        nl.audit_labels(X[SHUFFLED], labels=y[SHUFFLED], probs="a/probs.parquet")
