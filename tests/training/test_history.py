from __future__ import annotations

import json

import pytest

from noisylabels.core.checks import InputError
from noisylabels.training.history import History


def test_round_trip_and_columns(tmp_path):
    rows = [{"epoch": 1, "x": 0.1, "recall": [None, 0.5]}, {"epoch": 2, "x": None, "recall": []}]
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
    with pytest.raises(InputError, match=r"h\.jsonl is no history of a run"):
        History.read(tmp_path / "h.jsonl")


def test_no_nan_gets_into_a_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        History([{"x": float("nan")}]).write(tmp_path / "h.jsonl")
    assert list(tmp_path.iterdir()) == []
