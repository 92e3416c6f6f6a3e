from __future__ import annotations

import json

import pytest

from noisylabels.core.checks import InputError
from noisylabels.training.history import History, chosen_epoch


def test_round_trip_and_columns(tmp_path):
    same = {"test_accuracy": 0.5, "train_seconds": 1.0, "eval_seconds": 0.5}
    rows = [
        {"epoch": 1, "x": 0.1, "recall": [None, 0.5], **same},
        {"epoch": 2, "x": None, "recall": [], **same},
    ]
    history = History(rows)
    history.write(tmp_path / "h.jsonl")
    assert [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()] == rows
    again = History.read(tmp_path / "h.jsonl")
    assert again == history
    assert again.final == rows[1]
    assert again.column("x") == [0.1, None]
    assert len(again) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["h.jsonl"]


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(InputError, match="unknown column of the history 'epok'; did you mean 'epoch'"):
        History([{"epoch": 1}]).column("epok")


def test_an_empty_history(tmp_path):
    History().write(tmp_path / "h.jsonl")
    again = History.read(tmp_path / "h.jsonl")
    assert (len(again), again.column("anything")) == (0, [])
    with pytest.raises(InputError, match="the history is empty"):
        _ = again.final


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b'{"epoch": 1}\n{"epo'])
def test_a_damaged_or_missing_file_is_one_clear_line(tmp_path, content):
    if content is not None:
        (tmp_path / "h.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"h\.jsonl( is not valid JSON|$)"):
        History.read(tmp_path / "h.jsonl")


def test_no_nan_gets_into_a_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        History([{"x": float("nan")}]).write(tmp_path / "h.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ([], None),
        ([None, None], None),  # as an exported study has it
        ([0.3], 1),
        ([0.1, 0.4, 0.3], 2),
        ([0.1, 0.4, 0.2, 0.4], 2),  # the earliest among equals
        ([0.0, 0.0], 1),
    ],
)
def test_the_chosen_epoch(accuracies, chosen):
    rows = [
        # what the test set says chooses nothing
        {"epoch": n, "test_accuracy": 1 - 0.1 * n, "validation_accuracy": value}
        for n, value in enumerate(accuracies, start=1)
    ]
    found = chosen_epoch(rows)
    assert found == History(rows).chosen
    assert (found and found["epoch"]) == chosen


def test_no_epoch_is_chosen_without_a_validation_split():
    assert History([{"epoch": 1, "test_accuracy": 0.5}]).chosen is None
