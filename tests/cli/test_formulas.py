"""Formulas in CSV: every command that writes a table of somebody's names can write them as text."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import numpy as np
import pytest

import noisylabels
from noisylabels.audit.result import Audit
from noisylabels.cli import main
from noisylabels.cli.parser import VERBS
from noisylabels.core.delimited import without_formula
from noisylabels.report.tables import Number, Table, comma_separated

SOURCE = Path(noisylabels.__file__).parent


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return the words of an audit of a table with a class and ids that begin like formulas."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    ids = ["=HYPERLINK(A1)", "-7", "@SUM(A1)", *(f"row {i}" for i in range(37))]
    names = ["=cat", "dog"]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "x", "label"]])
        csv.writer(file).writerows([[ids[i], rng.normal(), names[truth[i]]] for i in range(40)])
    with (tmp_path / "p.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["id", *names])
        csv.writer(file).writerows([[ids[i], 0.9 - 0.8 * truth[i], 0.1 + 0.8 * truth[i]] for i in range(40)])
    return [
        "audit",
        str(tmp_path / "t.csv"),
        "--probs",
        str(tmp_path / "p.csv"),
        "--out",
        str(tmp_path / "a"),
    ]


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_labels_of_an_audit_are_escaped_on_request_also_later(words, tmp_path):
    assert main(words) == 0
    plain = rows_of(tmp_path / "a" / "labels.csv")
    assert {row[plain[0].index("given")] for row in plain[1:]} == {"=cat", "dog"}
    assert main([*words, "--escape-formulas"]) == 0  # the finished audit, whose table is written again
    wanted = [[without_formula(cell) for cell in row] for row in plain]
    assert wanted != plain
    assert rows_of(tmp_path / "a" / "labels.csv") == wanted
    Audit.load(tmp_path / "a").save(tmp_path / "b", escape_formulas=True)
    assert rows_of(tmp_path / "b" / "labels.csv") == wanted
    assert Audit.load(tmp_path / "b").class_names == ("=cat", "dog")  # the other files are as they were


def test_a_first_audit_is_escaped(words, tmp_path):
    assert main([*words, "--escape-formulas"]) == 0
    assert "'=HYPERLINK(A1)" in {cell for row in rows_of(tmp_path / "a" / "labels.csv") for cell in row}


def test_tables_of_a_report_are_escaped_on_request():
    table = Table("t", "T", ["loss", "=2+3"], [["@a", Number(-1.5)], ["ce", Number(2.0)]])
    plain, escaped = (
        list(csv.reader(io.StringIO(comma_separated(table, flag), newline=""))) for flag in (False, True)
    )
    assert plain[1][0] == "@a"
    assert escaped == [[without_formula(cell) for cell in row] for row in plain] != plain


def test_one_option_everywhere():
    """A writer of CSV takes the option, and so does each command that has one."""
    calls = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name != "csv.writer" or path.name == "delimited.py", path
            if name == "CellWriter":
                calls[path.name] = {keyword.arg for keyword in node.keywords}
    # forms.py writes the caller's own table again, whose cells must stay as they are
    assert {name for name, given in calls.items() if "escape_formulas" not in given} == {"forms.py"}
    assert len(calls) == 5
    with_option = {name for name, verb in VERBS.items() if "escape_formulas" in verb.__dataclass_fields__}
    assert with_option == {"audit", "predict", "report", "review"}
