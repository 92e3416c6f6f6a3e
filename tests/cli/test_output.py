"""One door for what is printed: names from files and folders cannot command the terminal."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels.cli
from noisylabels.cli import main, output
from noisylabels.core.printable import MOST, one_printed_line, printable

ODD = "\x1b[31mcat\u202e\x07"

DOORS = ("output.py", "terminal.py")
"""The files of the command line that print; the others hand their texts to them."""


def printing(source: str) -> list[str]:
    """Return the calls of a file that print past the doors."""
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        name for name in calls if name in ("print", "Console", "rich.print") or name.startswith("sys.std")
    ]


def test_only_the_doors_print():
    folder = Path(noisylabels.cli.__file__).parent
    files = sorted(folder.glob("*.py"))
    found = {
        path.name: printing(path.read_text(encoding="utf-8")) for path in files if path.name not in DOORS
    }
    harmless = ("sys.stdout.flush", "sys.stderr.close")  # they print nothing of their own
    found["__init__.py"] = [name for name in found["__init__.py"] if name not in harmless]
    assert {name: calls for name, calls in found.items() if calls} == {}
    assert len(found) > 15


@pytest.mark.parametrize(
    "source",
    ["print(1)", "sys.stdout.write('a')", "def f():\n    Console().print('a')", "sys.stderr.write('')"],
)
def test_printing_past_the_doors_is_found(source):
    assert printing(source)


def plain(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def photographs(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in (ODD, "[red]dog", "bird\nfish"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}{ODD}.png")
    return root


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return photographs(tmp_path / f"photos{ODD}").name


@pytest.mark.parametrize(
    "words",
    [
        ["noise", "symmetric:0.5", "--data", "PHOTOS"],
        ["audit", "PHOTOS", "--epochs", "1", "--features", "none", "--folds", "2", "--out", ODD],
        ["train", "--data", "PHOTOS", "--epochs", "1", "--features", "none", "--out", ODD],
        ["train", "--data", "nowhere" + ODD],
        ["train", f"--{ODD}", "1"],
        ["train", "--epochs", ODD],
        ["train", "--data", "PHOTOS", "--label-column", ODD],
        ["study", "run", ODD],
        ["loss", ODD],
        ["noise", ODD],
        ["predict", ODD, ODD],
        ["report", ODD],
        ["review", ODD],
    ],
)
def test_odd_names_are_escaped(words: list[str], photos: str, capfd: pytest.CaptureFixture[str]):
    code = main([photos if word == "PHOTOS" else word for word in words])
    out, err = capfd.readouterr()
    assert code in (0, 2)
    assert plain(out), out
    assert plain(err), err
    assert r"\x1b[31mcat\u202e\x07" in out + err
    if code == 2:
        assert err.count("\n") == 1


def test_odd_names_of_a_study_are_escaped(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    fixed = 'data = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 1\n'
    text = f'title = {json.dumps(ODD)}\n[fixed]\n{fixed}[axes]\nloss = ["ce"]\n'
    (tmp_path / "s.toml").write_text(text)
    for words in (
        ["run", "s.toml", "--jobs", "0"],
        ["status", "s.toml"],
        ["show", "s.toml", "--only", "loss=x"],
    ):
        main(["study", *words, "--out", f"study{ODD}"])
        out, err = capsys.readouterr()
        assert plain(out + err)


def test_data_are_written_as_they_are_but_for_a_terminal(monkeypatch, capsys: pytest.CaptureFixture[str]):
    row = f'"{ODD}",cat\r\n'
    output.write_data(row)
    assert capsys.readouterr().out == row
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.write_data(row)
    assert capsys.readouterr().out == '"\\x1b[31mcat\\u202e\\x07",cat\r\n'


def test_a_result_that_the_stream_cannot_encode(monkeypatch, tmp_path: Path):
    with (tmp_path / "ascii").open("w", encoding="ascii") as file:
        monkeypatch.setattr("sys.stdout", file)
        output.say("Größe 中")
    assert (tmp_path / "ascii").read_text() == "Gr\\xf6\\xdfe \\u4e2d\n"


def test_every_character_is_printable_or_escaped():
    text = "".join(map(chr, [*range(0x3000), *range(0xD7F0, 0xE010), 0xFEFF, 0xFFFE, 0x10FFFF]))
    assert printable(text, breaks="").isprintable()
    assert printable(text).replace("\n", "").isprintable()
    assert printable("Größe, 中文, 😀") == "Größe, 中文, 😀"


def test_an_error_is_one_line_of_limited_length():
    line = one_printed_line("a\nb" + "9" * 100_000)
    assert line.startswith("a\\nb999")
    assert line.isprintable()
    assert len(line) < MOST + 10


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_one_line(error, monkeypatch, capsys: pytest.CaptureFixture[str]):
    def fail(words):
        raise error

    monkeypatch.setattr("noisylabels.cli.parser.parse", fail)
    assert main(["loss", "ce"]) == 2
    assert capsys.readouterr().err.startswith("noisylabels: out of memory; reduce")


@pytest.mark.parametrize(
    ("words", "printed", "expected"),
    [
        (["review", "{}"], r": (noisylabels review .*)$", ["review", "{}", "--export", "corrected.csv"]),
        (["review", "no {}"], r"`(.*)`", ["audit", "DATA", "--out", "no {}"]),
        (["predict", "no {}", "x.csv"], r"`(.*)`", ["train", "--out", "no {}"]),
        (["train", "{}"], r"did you mean (.*)\?$", ["{}"]),
    ],
)
def test_printed_commands_are_quoted_for_a_shell(
    words: list[str],
    printed: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from noisylabels.audit.review import server

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda *_: None)  # as if stopped at once
    folder = "my 'audit' $HOME"
    if words[0] == "review":
        noisylabels.audit_labels(labels=[0, 1] * 6, probs=[[0.9, 0.1], [0.2, 0.8]] * 6, out=folder)
    else:
        Path(folder).mkdir()
    main([word.format(folder) for word in words])
    said = "".join(capsys.readouterr()).strip()
    (command,) = re.findall(printed, said, re.MULTILINE)
    assert shlex.split(command)[1:] == [word.format(folder) for word in expected]
