"""Class means beside a row, on the audit page and in the review."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.class_means import ClassMeans
from noisylabels.audit.page_rows import VALUES, PageRows
from noisylabels.audit.result import Audit
from noisylabels.audit.running import audit_labels


def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 20))
    given = np.arange(40) % 2
    rows[:, 7] += 5 * given
    rows[:, 3] *= 1000  # a large scale alone does not separate
    rows[:, 8] = 1
    return rows, given


def test_means_are_those_of_the_given_classes() -> None:
    rows, given = table()
    found = ClassMeans(rows, given).beside(2, (0, 1), most=20)
    assert [c for c, *_ in found] == list(range(20))
    np.testing.assert_allclose([value for _, value, _, _ in found], rows[2])
    np.testing.assert_allclose([first for _, _, first, _ in found], rows[::2].mean(axis=0))
    np.testing.assert_allclose([second for _, _, _, second in found], rows[1::2].mean(axis=0))


def test_of_many_columns_those_that_separate_the_classes_are_chosen() -> None:
    rows, given = table()
    means = ClassMeans(rows, given)
    between = np.abs(rows[::2].mean(axis=0) - rows[1::2].mean(axis=0))
    apart = between / np.where(np.ptp(rows, 0), rows.std(0), 1)
    wanted = sorted(np.argsort(-apart)[:3].tolist())
    assert 7 in wanted
    assert [c for c, *_ in means.beside(2, (0, 1), most=3)] == wanted
    assert [c for c, *_ in means.beside(2, (0, 1), 1, columns=[3, 7, 8])] == [7]
    far = int(np.argmax(np.abs(rows[2] - rows[::2].mean(axis=0))))
    assert [c for c, *_ in means.beside(2, (0, 0), most=1)] == [far]  # one class: where the row is unlike it


def test_means_of_many_large_values_are_exact() -> None:
    given = (np.arange(60_000) % 10 == 0).astype(np.int64)
    rows = (1013.2 + 0.1 * given + np.random.default_rng(0).normal(0, 0.1, 60_000)).astype(np.float32)
    both = np.stack([rows, rows], axis=1)  # of one column alone NumPy adds pairs
    ((_, _, first, second), _) = ClassMeans(both, given).beside(0, (0, 1), most=2)
    np.testing.assert_allclose([first, second], [1013.2, 1013.3], rtol=0, atol=0.01)


def test_a_class_without_an_example_has_no_mean() -> None:
    rows, given = table()
    assert np.isnan(ClassMeans(rows, given).beside(0, (0, 2), most=20)[0][3])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["city", "income", *(f"n{c}" for c in range(14)), "label"])
        for i in range(30):
            label = "ny"[i % 2]
            numbers = [f"{i % 7 + 4 * (c == 3 and label == 'y')}.5" for c in range(14)]
            out.writerow(["Oslo" if i % 3 else "Rome", f"{1234567.5 + 3 * i:.2f}", *numbers, label])
    audit_labels(str(folder / "t.csv"), out=folder / "a", folds=2, epochs=1)
    return folder / "a"


def test_a_card_shows_numbers_as_written_beside_the_class_means(audited: Path) -> None:
    text = (audited / "page.html").read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data = json.loads(found)
    assert data["columns"] == ["income", *(f"n{c}" for c in range(14))]
    item = next(item for item in data["items"] if item["id"] == "row:4")
    assert item["cells"] == [["city", "Oslo", False]]
    assert item["more"] == 15 - VALUES
    values = {data["columns"][k]: rest for k, *rest in item["values"]}
    assert len(values) == VALUES
    content, of_given, of_suggested, nearer = values["n3"]
    assert content == "4.5"
    mean = {k: np.mean([i % 7 + 4 * k + 0.5 for i in range(k, 30, 2)]) for k in (0, 1)}
    assert of_given == pytest.approx(mean[item["given"]], rel=1e-3)
    assert of_suggested == pytest.approx(mean[item["suggested"]], rel=1e-3)
    assert nearer == np.sign(abs(4.5 - of_given) - abs(4.5 - of_suggested))


def test_without_means_every_cell_is_a_cell(audited: Path) -> None:
    rows = PageRows(Audit.load(audited), load_examples(audited))
    assert rows.row(4).keys() == {"cells", "more", "values"}
    plain = rows.row(4, means=False)
    assert [name for name, *_ in plain["cells"]] == ["city", "income", *(f"n{c}" for c in range(VALUES - 2))]
    assert plain["more"] == 16 - VALUES
