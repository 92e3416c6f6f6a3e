"""Labels are read alike in every form of data: as written, and without a class that nothing has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_forms import FORMS, KINDS
from noisylabels.core.labels import name_of
from noisylabels.data.catalog import load

N = 24


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_classes_are_the_labels_as_written(form: str, kind: str, tmp_path: Path) -> None:
    classes = KINDS[kind]
    made = FORMS[form](tmp_path, [classes[k % len(classes)] for k in range(N)])
    train, test = load(made.source)
    assert train.class_names == test.class_names == tuple(map(name_of, classes))
    given = {
        name: train.class_names[label]
        for part in (train, test)
        for name, label in zip(part.ids, part.labels.tolist(), strict=True)
    }
    assert given == dict(zip(made.ids, map(name_of, made.labels), strict=True))
    if kind == "words":
        assert train.notes[0].startswith("12 labels are 'NA': a class of that name is trained")
        assert train.notes[1].startswith("12 labels are 'null'")
    elif kind == "alike":
        assert train.notes[0].startswith("classes that look like one: 'Cat' (12), 'cat' (12)")
    else:
        assert not any("look like one" in note or "is trained" in note for note in train.notes)


@pytest.mark.parametrize("form", ["csv", "tsv", "image_list"])
def test_spaces_around_labels_of_a_text_table_are_named(form: str, tmp_path: Path) -> None:
    made = FORMS[form](tmp_path, ["cat", "dog", "cat ", "dog"] * 6)
    train, _ = load(made.source)
    assert train.class_names == ("cat", "dog")
    assert train.notes[0] == "spaces around a label are ignored: 'cat ' (6) is read as 'cat'"


@pytest.mark.parametrize("form", ["parquet", "npz", "image_npz", "image_parquet", "arrays", "pandas"])
def test_spaces_are_part_of_a_label_elsewhere_and_named(form: str, tmp_path: Path) -> None:
    made = FORMS[form](tmp_path, ["cat", "dog", "cat ", "dog"] * 6)
    train, _ = load(made.source)
    assert train.class_names == ("cat", "cat ", "dog")
    assert train.notes[0].startswith("classes that look like one: 'cat' (6), 'cat ' (6); correct")


def test_a_set_stored_with_other_class_names_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisylabels.data import arrays

    made = FORMS["image_npz"](tmp_path, [1, 2] * 12)
    monkeypatch.setattr(arrays, "LABELS", 0)  # an older rule
    monkeypatch.setattr(arrays, "read_labels", _from_zero)
    assert load(made.source)[0].class_names == ("0", "1", "2")
    monkeypatch.undo()
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    assert load(made.source)[0].class_names == ("1", "2")


def _from_zero(cells: np.ndarray, *args: Any, **how: Any) -> Any:
    from noisylabels.core.labels import Labels

    return Labels(cells.astype(np.int64), ("0", "1", "2"), np.arange(3))
