"""Every document that is read, with every mutation: exit code 2 and one line, or set aside in a study.

The mutations are derived from a valid example of each document, so that a new field is covered at once.
"""

from __future__ import annotations

import copy
import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.cli import main
from noisylabels.study.results import read_results

WRONG = {"null": None, "text": "7x", "number": 7.5, "truth": True, "list": [[]], "object": {"a": []}}
"""Values of every type; at each place those are tried whose type differs from that of the example."""

SAME = {bool: "truth", int: "number", float: "number", str: "text", list: "list", dict: "object"}


# Mutations of values ------------------------------------------------------------------------------


def places(value: Any, most: int = 2) -> Iterator[tuple[Any, ...]]:
    """Yield the paths to all values within a value; of values that are alike only to the first `most`."""
    steps = list(value) if isinstance(value, dict) else list(range(len(value)))
    # a list, a model's state, what a model was made with, and an optimizer's states by numbers of parameters
    named = all(isinstance(step, int) or "." in step for step in steps)
    if isinstance(value, list | OrderedDict) or named:
        steps = steps[:most]
    for step in steps:
        yield (step,)
        if isinstance(value[step], dict | list):
            yield from ((step, *rest) for rest in places(value[step], most))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    made = copy.deepcopy(value)
    at(made, place[:-1])[place[-1]] = new
    return made


def wrong_types(example: Any, kinds: tuple[str, ...] = tuple(WRONG)) -> Iterator[tuple[str, Any]]:
    for place in places(example):
        for kind in kinds:
            there = at(example, place)
            if SAME.get(type(there)) != kind and not (there is None and kind not in ("list", "object")):
                yield f"{place} is {kind}", replaced(example, place, WRONG[kind])


def missing(example: Any) -> Iterator[tuple[str, Any]]:
    for place in places(example):
        if isinstance(at(example, place[:-1]), dict):
            made = copy.deepcopy(example)
            del at(made, place[:-1])[place[-1]]
            yield f"without {place}", made


def extra(example: Any) -> Iterator[tuple[str, Any]]:
    for place in ((), *places(example)):
        if isinstance(at(example, place), dict):
            yield f"more at {place}", replaced(example, (*place, "surprise"), {"a": [None, "b"]})


# Mutations of texts -------------------------------------------------------------------------------

TEXTS: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "truncated": lambda text: text.encode()[: len(text) // 2],
    "binary": lambda text: np.random.default_rng(0).bytes(300),
    "not UTF-8": lambda text: text.encode() + b"\xff",
    "null": lambda text: b"null",
    "list": lambda text: b"[]",
    "a number": lambda text: b"3",
    "deep": lambda text: b"[" * 5000 + b"]" * 5000,
    "deep objects": lambda text: b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "deep inside": lambda text: spliced(text, "[" * 5000 + "]" * 5000),
    "huge integer": lambda text: spliced(text, "9" * 5000),
    "large integer": lambda text: spliced(text, "9" * 400),
    "large float": lambda text: spliced(text, "1e999"),
    "NaN": lambda text: spliced(text, "NaN"),
    "lone surrogate": lambda text: spliced(text, '"\\ud800"'),
    "key twice": lambda text: text.replace("{", '{"twice": 1, "twice": 2, ', 1).encode(),
}


def spliced(text: str, value: str) -> bytes:
    """Return a JSON text whose first value is another text."""
    return text.replace(":", f': {value}, "was":', 1).encode()


# Documents ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A kind of document.

    Args:
        file: the path of the valid example, below the folder of examples.
        read: read and use the document at that path of a copy of its folder.
        folder: what is copied: a folder that holds the file.
        load, store: the value in a file, and the file with another value.
        open: keys below which anything goes.
    """

    file: str
    read: Callable[[Path], object]
    folder: str
    load: Callable[[Path], Any] = lambda path: json.loads(path.read_text())
    store: Callable[[Path, Any], object] = lambda path, value: path.write_text(json.dumps(value))
    open: tuple[str, ...] = ()


def load_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def store_lines(path: Path, rows: Any) -> None:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def finished(path: Path) -> None:
    from noisylabels.cli.train import summary
    from noisylabels.experiment import read_result
    from noisylabels.experiment.folder import check_files, read_environment

    result = read_result(path.parent)
    summary(result)
    check_files(path.parent, {})
    assert read_environment(path.parent)["identity"]
    assert len(result.history.rows) in (0, 2)


def cell(path: Path) -> None:
    """Read the state of the cell that holds the file; a damaged one is no exception but a state."""
    from noisylabels.core.checks import InputError
    from noisylabels.study.store import Store, read_rows

    store = Store(path.parents[1])
    _, cells = store.noted()
    states = {each.name: store.state(each) for each in cells}
    notes: list[str] = []
    assert len(read_rows(store.folder, notes)) + len(notes) == len(cells)
    if (state := states[path.parent.name]).state == "damaged":
        raise InputError(state.message)


def noted(path: Path) -> None:
    from noisylabels.study.store import Store

    Store(path.parent).noted()


def audited(path: Path) -> None:
    from noisylabels.audit.page import lead, next_steps
    from noisylabels.audit.result import Audit
    from noisylabels.cli.audit import summary

    found = Audit.load(path.parent)
    summary(found, path.parent)
    assert lead(found)
    next_steps(found, path.parent)


def resumed(path: Path) -> None:
    from noisylabels.experiment import run
    from noisylabels.experiment.config import load_config

    run(load_config(None, out=str(path.parent), **FAST))


def weights(path: Path) -> None:
    from noisylabels.experiment.prediction import load_model, predict

    trained = load_model(path, "cpu")
    predict(trained, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def load_header(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["noisylabels"])


def store_header(path: Path, value: Any) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path, {"noisylabels": json.dumps(value)})


def saved_labels(path: Path) -> None:
    import noisylabels as nl

    nl.NoisyLabels.load(path)


def load_record(path: Path) -> Any:
    return json.loads(pq.read_schema(path).metadata[b"noisylabels"])


def store_record(path: Path, value: Any) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata({"noisylabels": json.dumps(value)}), path)


def load_probs_record(path: Path) -> Any:
    return json.loads(pq.read_schema(path).metadata[b"noisylabels.probs"])


def store_probs_record(path: Path, value: Any) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"noisylabels.probs": json.dumps(value)}), path)


def searched(path: Path) -> None:
    from noisylabels.experiment.config import load_config
    from noisylabels.study.tune import tune

    tune(load_config(None, **SEARCH, out=str(path.parent)), trials=1, search=("lr",))


def load_checkpoint(path: Path) -> Any:
    return torch.load(path, weights_only=True)


DOCUMENTS = {
    "config of a run": Document("run/config.json", finished, "run"),
    "result of a run": Document("run/result.json", finished, "run"),
    "environment of a run": Document("run/environment.json", finished, "run", open=("model",)),
    "history of a run": Document("run/history.jsonl", finished, "run", load_lines, store_lines),
    "list of cells": Document("study/study.json", noted, "study", open=("axes",)),
    "config of a cell": Document("study/CELL/config.json", cell, "study"),
    "result of a cell": Document("study/CELL/result.json", cell, "study"),
    "environment of a cell": Document("study/CELL/environment.json", cell, "study", open=("model",)),
    "history of a cell": Document("study/CELL/history.jsonl", cell, "study", load_lines, store_lines),
    "audit": Document("audit/audit.json", audited, "audit", open=("method",)),
    "model": Document("run/model.safetensors", weights, "run", load_header, store_header),
    "noisy labels": Document("run/labels.parquet", saved_labels, "run", load_record, store_record),
    "probabilities": Document("audit/probs.parquet", audited, "audit", load_probs_record, store_probs_record),
    "checkpoint": Document(
        "begun/checkpoint.pt",
        resumed,
        "begun",
        load_checkpoint,
        lambda path, value: torch.save(value, path),
        open=(
            "made_for",
            "loss_constants",
            "constants",
            "own_lr",
            "scheduled",
            "foreach",
            "fused",
            "capturable",
        ),
    ),
    "search": Document("search/tune.json", searched, "search"),
}

FAST: dict[str, Any] = {"data": "digits", "noise": "symmetric:0.4", "loss": "ce", "model": "mlp"}
FAST |= {"record": "dynamics(stride=1)"}
FAST |= {"width": 0.1, "epochs": 2, "batch_size": 512, "device": "cpu", "ema": 0.5, "validation": 0.1}
SEARCH: dict[str, Any] = FAST | {"epochs": 1}


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    """A folder with a valid example of every document."""
    import noisylabels as nl
    from noisylabels.core.interrupt import Interrupted
    from noisylabels.experiment import run
    from noisylabels.experiment.config import load_config
    from noisylabels.study.tune import tune

    root = tmp_path_factory.mktemp("examples")
    run(load_config(None, out=str(root / "run"), **FAST))
    steps = iter([False] * 4 + [True] * 99)
    with pytest.raises(Interrupted):
        run(load_config(None, out=str(root / "begun"), **FAST), stop=lambda: next(steps))
    (root / "s.toml").write_text(
        'title = "two"\n[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 2\nbatch_size = 512\n'
        '[axes]\nloss = ["ce", "mae"]\nseed = [1]\nvalidation = [0.1]\n'
    )
    words = ["--out", str(root / "study"), "--jobs", "0", "--device", "cpu"]
    assert main(["study", "run", str(root / "s.toml"), *words]) == 0
    draw = np.random.default_rng(0)
    X = draw.normal(size=(60, 4)).astype(np.float32)
    X[:30] += 2
    given = np.repeat([0, 1], 30)
    given[:3] = 1
    X[10] = X[40]
    nl.audit_labels(X, labels=given, out=root / "audit", folds=2, epochs=2)
    tune(load_config(None, **SEARCH, out=str(root / "search")), trials=1, search=("lr",))
    (root / "exported").mkdir()
    shutil.copy(root / "s.toml", root / "exported")
    words = ["--file", str(root / "exported" / "rows.parquet")]
    assert main(["study", "export", str(root / "study"), *words]) == 0
    return root


def example_of(document: Document, root: Path, to: Path) -> Path:
    """Copy the folder of a document and return the path of the file in the copy."""
    shutil.copytree(root / document.folder, to / document.folder)
    path = to / document.file
    if "CELL" in document.file:
        (name,) = (each.name for each in (root / "study").glob("ce-*"))
        path = Path(str(path).replace("CELL", name))
    return path


def state_of(folder: Path, but: Path) -> dict[Path, tuple[int, int, int]]:
    """Return what changes with each change to a folder's files, but for one of them."""
    found = {path: path.stat() for path in folder.rglob("*") if path != but}
    return {path: (each.st_ino, each.st_mtime_ns, each.st_size) for path, each in found.items()}


def fault_of(document: Document, path: Path) -> str | None:
    """Return the line with which a document is refused; None if it is accepted."""
    from noisylabels.core.checks import InputError

    try:
        document.read(path)
    except InputError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 1000
        assert not any("\ud800" <= character <= "\udfff" for character in line)
        return line
    return None


MUTATIONS: dict[str, Callable[[Any], Iterator[tuple[str, Any]]]] = {
    **{f"{kind} in place of others": lambda value, kind=kind: wrong_types(value, (kind,)) for kind in WRONG},
    "missing": missing,
    "extra": extra,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_value_of_another_type_is_refused(examples, tmp_path, name, mutation):
    document = DOCUMENTS[name]
    path = example_of(document, examples, tmp_path)
    example = document.load(path)
    assert fault_of(document, path) is None
    accepted, count = [], 0
    others: dict[Path, tuple[int, int, int]] = {}
    for what, value in MUTATIONS[mutation](example):
        if state_of(tmp_path, but=path) != others:  # what was accepted has been worked on
            shutil.rmtree(tmp_path / document.folder)
            example_of(document, examples, tmp_path)
            others, whole = state_of(tmp_path, but=path), path.read_bytes()
        path.write_bytes(whole)
        document.store(path, value)
        count += 1
        try:
            fault = fault_of(document, path)
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        if fault is None and not any(repr(key) in what for key in document.open):
            accepted.append(what)
    assert count
    if mutation not in ("missing", "extra", "null in place of others"):
        assert accepted == []


@pytest.mark.parametrize("mutation", TEXTS)
@pytest.mark.parametrize("name", [name for name, each in DOCUMENTS.items() if "json" in each.file])
def test_a_damaged_text_is_refused(examples, tmp_path, name, mutation):
    path = example_of(DOCUMENTS[name], examples, tmp_path)
    path.write_bytes(TEXTS[mutation](path.read_text()))
    assert fault_of(DOCUMENTS[name], path) is not None or (mutation, path.suffix) == ("empty", ".jsonl")


# Parquet ------------------------------------------------------------------------------------------


def exported(path: Path) -> None:
    """Read an exported file in the three ways in which it is read; damaged rows are skipped with a note."""
    from noisylabels.core.checks import InputError
    from noisylabels.study.grid import load_study
    from noisylabels.study.restoring import find
    from noisylabels.study.store import read_rows

    notes: list[str] = []
    read_results([path], notes)
    read_rows(path, notes)
    cells = load_study(str(path.parent / "s.toml")).cells({"device": "cpu"})
    notes += find([path], cells, "s").notes
    if notes:
        raise InputError(notes[0])


def recorded(path: Path) -> None:
    from noisylabels.training.dynamics import read_dynamics, read_examples

    read_dynamics(path.parent)
    read_examples(path.parent)


TABLES = {
    "labels of an audit": Document("audit/labels.parquet", audited, "audit"),
    "neighbors of an audit": Document("audit/neighbors.parquet", audited, "audit"),
    "probabilities out of fold": Document("audit/probs.parquet", audited, "audit", open=("id", "index")),
    "probabilities in training": Document("audit/seen.parquet", audited, "audit", open=("id", "index")),
    "labels of a run": Document("run/labels.parquet", saved_labels, "run"),
    "dynamics of a run": Document("run/dynamics.parquet", recorded, "run"),
    "dynamics of the examples": Document("run/dynamics-examples.parquet", recorded, "run"),
    "exported file": Document("exported/rows.parquet", exported, "exported"),
}


def columns(table: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Yield the column, what is wrong with it, and the table."""
    n = len(table)
    invalid = pa.StringArray.from_buffers(
        n, pa.py_buffer(np.arange(n + 1, dtype=np.int32)), pa.py_buffer(b"\xff" * n)
    )
    wrong = {
        "text": pa.array(["x"] * n),
        "numbers": pa.array([0.5] * n),
        "NaN": pa.array([float("nan")] * n),
        "large integers": pa.array([2**62] * n),
        "truth": pa.array([True] * n),
        "lists": pa.array([[[0]]] * n),
        "structs": pa.array([{"a": 1}] * n),
        "binary": pa.array([b"\xff"] * n),
        "invalid UTF-8": invalid,
        "dates": pa.array([0] * n, pa.timestamp("s")),
        "nothing": pa.nulls(n),
    }
    for place, name in enumerate(table.column_names):
        yield name, "missing", table.drop_columns([name])
        yield name, "twice", table.append_column(name, table[name])
        nulls = pa.array([None, *table[name].to_pylist()[1:]], table[name].type)
        for what, column in {**wrong, "a null": nulls}.items():
            yield name, what, table.set_column(place, name, column)


@pytest.mark.parametrize("name", TABLES)
def test_a_column_of_another_type_is_refused(examples, tmp_path, name):
    document = TABLES[name]
    path = example_of(document, examples, tmp_path)
    assert fault_of(document, path) is None
    accepted, count = [], 0
    for column, what, table in columns(pq.read_table(path)):
        pq.write_table(table, path)
        count += 1
        try:
            fault = fault_of(document, path)
        except Exception as error:
            raise AssertionError(f"{column}: {what}: {type(error).__name__}: {error}") from error
        if fault is None and column not in document.open:
            accepted.append((column, what))
    assert count >= 13
    assert not [each for each in accepted if each[1] in ("lists", "structs", "binary", "dates", "twice")]


@pytest.mark.parametrize("damage", ["empty", "truncated", "binary", "text"])
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_refused(examples, tmp_path, name, damage):
    path = example_of(TABLES[name], examples, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"a,b\n1,2\n"}.get(
            damage, np.random.default_rng(0).bytes(300)
        )
    )
    assert fault_of(TABLES[name], path) is not None


# TOML ---------------------------------------------------------------------------------------------


def recipe(path: Path) -> None:
    from noisylabels.experiment.config import load_config

    load_config(str(path))


def study_file(path: Path) -> None:
    from noisylabels.study.grid import load_study

    load_study(str(path)).cells()


RECIPE = 'data = "digits"\nloss = "ce"\nepochs = 2\nlr = 0.1\nchannels_last = true\n'
STUDY = (
    'title = "t"\nrecipe = "digits"\nfixed = {epochs = 2}\naxes = {loss = ["ce", "mae"], seed = [1, 2]}\n'
    'exclude = [{loss = "ce", seed = 1}]\noverride = [{when = {loss = "ce"}, set = {lr = 0.5}}]\n'
)
TOML_VALUES = {
    "text": '"7x"',
    "number": "7.5",
    "truth": "true",
    "list": "[[]]",
    "object": "{a = []}",
    "date": "1979-05-27",
    "NaN": "nan",
    "huge integer": "9" * 5000,
    "large integer": "9" * 400,
    "deep": "[" * 5000 + "]" * 5000,
    "deep objects": "{a=" * 2000 + "1" + "}" * 2000,
    "lone surrogate": '"\\ud800"',
    "infinite": "inf",
}


@pytest.mark.parametrize("value", TOML_VALUES)
@pytest.mark.parametrize(("text", "read"), [(RECIPE, recipe), (STUDY, study_file)], ids=["recipe", "study"])
def test_a_setting_of_another_type_is_refused(tmp_path, text, read, value):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    document = Document("mine.toml", read, "")
    assert fault_of(document, path) is None
    for key, there in tomllib.loads(text).items():
        lines = [
            f"{key} = {TOML_VALUES[value]}" if line.startswith(f"{key} =") else line
            for line in text.splitlines()
        ]
        path.write_text("\n".join(lines) + "\n")
        same = value in ("text", "number", "truth") and SAME[type(there)] == value
        assert (fault_of(document, path) is None) <= same, key


@pytest.mark.parametrize("damage", [b"", b"\xff", b"\x00", b"a = ", b"a = 1\na = 2", b"[" * 5000])
def test_a_damaged_study_file_is_refused(tmp_path, damage):
    path = tmp_path / "mine.toml"
    path.write_bytes(damage)
    assert fault_of(Document("mine.toml", study_file, ""), path) is not None


# Decisions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, value) for column in ("example", "event", "action") for value in (b"\xff", 7.5)),
        *(("label", value) for value in (b"cat", 7, None)),
        ("action", "burn"),
    ],
)
def test_a_decision_of_another_type_is_refused(tmp_path, column, value):
    from noisylabels.audit.review.store import Store

    def read(path: Path) -> object:
        store = Store(path)
        try:
            return store.changes()
        finally:
            store.close()

    path = tmp_path / "review.sqlite"
    store = Store(path)
    store.save("event-00", "a.png", "chosen", "cat")
    store.close()
    document = Document("review.sqlite", read, "")
    assert fault_of(document, path) is None
    with sqlite3.connect(path) as connection:
        # numbers in columns of text are read as text, so that only their values are wrong
        connection.execute(f"UPDATE events SET {column} = ?", (value,))
    connection.close()
    numbers = column != "action" and isinstance(value, int | float)
    assert (fault_of(document, path) is None) == numbers


# Commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutation", [*TEXTS, "another type"])
@pytest.mark.parametrize("file", ["config.json", "environment.json", "result.json", "history.jsonl"])
def test_a_damaged_cell_stops_no_command(examples, tmp_path, capsys, file, mutation):
    path = example_of(Document(f"study/CELL/{file}", cell, "study"), examples, tmp_path)
    text = path.read_text()
    path.write_bytes(TEXTS[mutation](text) if mutation in TEXTS else text.replace("1", "[]").encode())
    study = tmp_path / "study"
    assert main(["study", "status", str(study)]) == 0
    assert "1 done, 1 damaged" in " ".join(capsys.readouterr().out.split())
    assert main(["study", "export", str(study), "--file", str(tmp_path / "rows.parquet")]) == 0
    said = capsys.readouterr()
    whole = "wrote 2 runs" in said.out  # an empty history is one of no epoch
    assert whole or ("wrote 1 runs" in said.out and "skipped 1 damaged run, first: " in said.err)
    assert "Traceback" not in said.err
    notes: list[str] = []
    read_results([study], notes)  # as a report does
    assert whole or "skipped 1 damaged run, first: " in notes[0]
    if mutation in ("truncated", "another type"):
        assert main(["report", str(study), "--out", str(tmp_path / "report"), "--formats"]) == 0
        said = capsys.readouterr()
        assert whole or notes[0] in said.err
        assert "Traceback" not in said.err


def test_a_damaged_cell_is_set_aside_and_run_again(examples, tmp_path, capsys):
    path = example_of(DOCUMENTS["result of a cell"], examples, tmp_path)
    path.write_bytes(TEXTS["deep"](""))
    words = ["--out", str(tmp_path / "study"), "--jobs", "0", "--device", "cpu"]
    assert main(["study", "run", str(examples / "s.toml"), *words]) == 0
    said = capsys.readouterr()
    assert f"moved to {tmp_path / 'study' / 'damaged' / path.parent.name}.1, to be run again" in said.err
    assert "2 of 2 cells done" in said.out


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("audit/audit.json", ["review", "audit", "--export", "x.csv"]),
        ("run/result.json", ["predict", "run", "x.png"]),
        ("study/study.json", ["study", "status", "study"]),
    ],
)
def test_a_command_ends_with_code_2_and_one_line(examples, tmp_path, capsys, monkeypatch, file, words):
    folder = file.partition("/")[0]
    shutil.copytree(examples / folder, tmp_path / folder)
    (tmp_path / file).write_bytes(TEXTS["deep"](""))
    (tmp_path / "run" / "model.safetensors").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"noisylabels: {file} is not ")
    assert f"{file} is not valid JSON (more than 100 levels of nesting)" in line


# A bare machine -----------------------------------------------------------------------------------


def test_training_needs_no_pydantic(examples, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    shutil.copytree(examples / "begun", tmp_path / "begun")
    resumed(tmp_path / "begun" / "checkpoint.pt")
    finished(tmp_path / "begun" / "result.json")
    document = DOCUMENTS["result of a run"]
    for text in ("[]", "{}", "{", "[" * 5000):
        (tmp_path / "begun" / "result.json").write_text(text)
        assert fault_of(document, tmp_path / "begun" / "result.json") is not None


def test_pydantic_is_imported_by_the_first_check_only():
    code = (
        "import sys, noisylabels.study.store, noisylabels.audit.result; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
