"""A table of texts and labels alone: audited with given probabilities, shown, reviewed and exported."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.result import Audit
from noisylabels.audit.review.export import export
from noisylabels.audit.review.session import Session
from noisylabels.audit.running import audit_labels
from noisylabels.cli import main
from noisylabels.core.checks import InputError

HOSTILE = '<img src=x onerror="window.hacked = 1"></script><script>window.hacked = 2</script>'
LONG = "A long review, word by word. " * 80 + "The end."


def columns() -> dict[str, list[Any]]:
    texts = [f"Comment number {i}, which says what it says." for i in range(20)]
    texts[2], texts[5] = LONG, HOSTILE
    return {
        "key": [f"k{i:02d}" for i in range(20)],
        "comment": texts,
        "author": [f"Author {i}" for i in range(20)],
        "day": [f"2024-05-{i + 1:02d}" for i in range(20)],
        "feeling": ["bad" if i % 2 else "good" for i in range(20)],
    }


def write(path: Path, table: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    return path


def read(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pydict()
    rows = list(
        csv.reader(io.StringIO(path.read_text("utf-8")), delimiter="\t" if path.suffix == ".tsv" else ",")
    )
    return dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))


def probabilities(path: Path, flipped: set[int]) -> Path:
    rows = [[f"k{i:02d}", float((i % 2 == 1) != (i in flipped))] for i in range(20)]
    path.write_text("id,bad,good\n" + "".join(f"{one},{p},{1 - p}\n" for one, p in rows), encoding="utf-8")
    return path


def audited(folder: Path, suffix: str, flipped: set[int]) -> tuple[Path, Path]:
    data = write(folder / f"comments{suffix}", columns())
    words = ["audit", str(data), "--probs", str(probabilities(folder / "probs.csv", flipped))]
    words += ["--label-column", "feeling", "--id-column", "key", "--out", str(folder / "audit")]
    assert main(words) == 0
    return data, folder / "audit"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_from_a_table_of_texts_to_the_corrected_table(suffix: str, tmp_path: Path, capsys: Any) -> None:
    data, folder = audited(tmp_path, suffix, {2, 5})
    assert "2 are flagged" in capsys.readouterr().out
    found = Audit.load(folder)
    assert {found.ids[i] for i in np.flatnonzero(found.flagged)} == {"k02", "k05"}
    # again: the finished audit, whose data are read and compared
    assert main(["audit", str(data), "--probs", str(tmp_path / "probs.csv"), "--label-column", "feeling",
                 "--id-column", "key", "--out", str(folder)]) == 0  # fmt: skip
    page = (folder / "page.html").read_text("utf-8")
    assert "The end." in page
    assert page.count("<script") == 2
    assert "<img" not in page
    assert re.search(r"noisylabels review \S+ --export corrected.csv", page)
    assert "noisylabels train --data" in page
    session = Session(folder)
    at = {name: position for position, name in enumerate(session.audit.ids)}
    shown = session.details([at["k05"]])[at["k05"]]
    assert shown["row"]["cells"] == [
        ["comment", HOSTILE, True],
        ["day", "2024-05-06", False],
        ["author", "Author 5", False],
    ]
    assert shown["values"] == []
    assert shown["problem"] == ""
    assert len(shown["near"][0]) == 6
    assert all(text.startswith(("Comment", "A long")) for text in shown["near"][0])
    assert session.details([at["k02"]])[at["k02"]]["row"]["cells"][0][1] == LONG
    session.decide("event-0000", at["k05"], "chosen", session.audit.class_names.index("good"))
    session.decide("event-0001", at["k07"], "discard")
    export(session, tmp_path / f"fixed{suffix}", "input")
    session.store.close()
    wanted = columns()
    wanted["feeling"][5] = "good"
    assert read(tmp_path / f"fixed{suffix}") == {
        name: [*cells[:7], *cells[8:]] for name, cells in wanted.items()
    }


def test_a_changed_text_is_noticed(tmp_path: Path) -> None:
    data, folder = audited(tmp_path, ".csv", {2})
    assert len(load_examples(folder)) == 20
    table = columns()
    table["comment"][3] = "Another comment altogether, in its place."
    write(data, table)
    with pytest.raises(InputError, match="has changed since it was audited"):
        load_examples(folder)


@pytest.mark.parametrize("scored", [False, True])
def test_the_same_text_with_two_labels_is_a_conflict(scored: bool, tmp_path: Path) -> None:
    n = 80
    texts = [f"Comment number {i}, which says what it says." for i in range(n)]
    texts[9], texts[8] = texts[4], texts[6]  # labeled bad and good; both good
    table: dict[str, list[Any]] = {"key": [f"k{i:02d}" for i in range(n)], "comment": texts}
    if scored:  # equal features alone are no duplicate
        table["stars"] = [f"{i % 7}.5" for i in range(n)]
        table["stars"][9], table["stars"][8] = table["stars"][4], table["stars"][6]
    table["feeling"] = ["bad" if i % 2 else "good" for i in range(n)]
    probs = np.full((n, 2), 0.1)
    probs[np.arange(n), [0 if label == "bad" else 1 for label in table["feeling"]]] = 0.9
    data = write(tmp_path / "t.csv", table)
    found = audit_labels(data, probs=probs, label_column="feeling", id_column="key")
    conflicts = found.summary["duplicates"]["conflicts"]
    assert [conflict["ids"] for conflict in conflicts] == [["k04", "k09"]]
    assert found.summary["duplicates"]["groups"] == 2


def test_without_an_encoder_nothing_is_trained_on_texts(tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path / "t.csv", columns())
    for verb in (["train", "--data"], ["audit"]):
        words = [*verb, str(data), "--label-column", "feeling", "--features", "none"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "only texts and no column to learn from" in line


def test_a_column_that_cannot_be_read_does_not_stop_given_probabilities(tmp_path: Path) -> None:
    table = columns() | {"price": [*["1.5"] * 10, *["2.5"] * 9, "n.a."]}
    data = write(tmp_path / "comments.csv", table)
    words = ["audit", str(data), "--probs", str(probabilities(tmp_path / "p.csv", {2})), "--label-column"]
    assert main([*words, "feeling", "--id-column", "key", "--out", str(tmp_path / "a")]) == 0


def test_the_pages_show_texts_and_run_nothing(serve: Any, visit: Any, tmp_path: Path) -> None:
    _, folder = audited(tmp_path, ".csv", {5, 8})
    tab = visit(serve(folder).address)
    tab.shown()
    seen = [tab.text("#stage")]
    tab.press("ArrowRight")
    tab.page.wait_for_timeout(300)
    seen.append(tab.text("#stage"))
    assert any(HOSTILE in text for text in seen)
    assert any("Comment number 8" in text for text in seen)
    assert "Comment number" in tab.text("#card-suggested .neighbors")
    assert tab.page.locator("img[src='x'], [onerror]").count() == 0
    assert tab.page.evaluate("window.hacked") is None
    assert tab.said == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_text_wraps_and_scrolls_on_the_page_and_in_the_review(
    width: int, tmp_path: Path, browser: Any, serve: Any, visit: Any
) -> None:
    table = columns()
    table["comment"][2] = "word by word " * 700 + "x" * 900
    data = write(tmp_path / "comments.csv", table)
    words = ["audit", str(data), "--probs", str(probabilities(tmp_path / "probs.csv", {2, 5}))]
    words += ["--label-column", "feeling", "--id-column", "key", "--out", str(tmp_path / "audit")]
    assert main(words) == 0
    scrolls = "e => [e.scrollHeight > e.clientHeight, e.scrollWidth <= e.clientWidth, e.clientHeight < 900]"
    fits = "document.documentElement.scrollWidth <= innerWidth"

    tab = visit(serve(tmp_path / "audit").address, viewport={"width": width, "height": 850})
    while tab.text("#id") != "k02":
        tab.page.keyboard.press("ArrowRight")
        tab.page.wait_for_timeout(100)
    assert tab.page.locator("#stage .values").evaluate(scrolls) == [True, True, True]
    assert tab.page.evaluate(fits)

    page = browser.new_page(viewport={"width": width, "height": 850})
    page.goto((tmp_path / "audit" / "page.html").as_uri())
    card = page.locator(".card", has_text="k02")
    text = card.locator(".text")
    closed = text.bounding_box()["height"]
    card.get_by_role("button", name="show all").click()
    assert closed < text.bounding_box()["height"]
    assert text.evaluate(scrolls) == [True, True, True]
    assert page.evaluate(fits)
    page.close()
