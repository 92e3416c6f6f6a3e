"""The pages of docs/losses are what docs/make_losses.py generates from the catalog; their code runs."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from noisylabels.losses import LOSSES, PER_LABEL, PRESETS, WRAPPERS

DOCS = Path(__file__).parents[2] / "docs"
AGAIN = "run python docs/make_losses.py"


def _load():  # a script, not a package
    spec = importlib.util.spec_from_file_location("docs_make_losses", DOCS / "make_losses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _load()
SUBJECTS = make.subjects()


def read(name):
    return (DOCS / "losses" / f"{name}.md").read_text(encoding="utf-8")


def test_every_entry_of_the_catalog_has_its_place():
    entries = [entry for names in SUBJECTS.values() for entry in names]
    assert sorted(entries) == sorted(LOSSES)
    assert set(PER_LABEL) | set(WRAPPERS) <= set(SUBJECTS)
    assert len(SUBJECTS) == 50
    files = {path.stem for path in (DOCS / "losses").iterdir()}
    assert files == {"README", *SUBJECTS}, AGAIN


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_page_is_up_to_date(name):
    assert read(name) == make.page(name, SUBJECTS[name]), AGAIN


def test_the_table_is_up_to_date():
    table = read("README")
    assert table == make.index(), AGAIN
    assert len(re.findall(r"^\| \[`", table, re.MULTILINE)) == len(LOSSES)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_page_is_whole(name):
    text = read(name)
    for entry in SUBJECTS[name]:
        for words in (f"## `{entry}`: {LOSSES[entry].title}", LOSSES[entry].use):
            assert words in text
        for key in LOSSES[entry].defaults:
            assert f"| `{key}` |" in text
        for key in PRESETS.get(entry, {}):
            assert f"| `{entry}@{key}` |" in text
    assert text.count("| noise tolerance |") == len(SUBJECTS[name])
    assert "{" not in text
    assert not re.search(r"\bnan\b|None", text)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / "losses" / target).exists(), target


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_figure_is_small_and_shows_its_losses(name):
    picture = DOCS / "losses" / f"{name}.svg"
    assert picture.stat().st_size < 60_000
    text = picture.read_text(encoding="utf-8")
    for drawn in make.drawn(name, SUBJECTS[name]):
        assert f">{drawn}</text>" in text
        curve = make.thinned(drawn)
        assert len(curve["p"]) == make.POINTS


def test_all_pages_together_are_small():
    assert sum(path.stat().st_size for path in (DOCS / "losses").iterdir()) < 1_250_000


@pytest.mark.parametrize(
    "path", ["losses.md", "loss-reference.md", "custom-loss.md", *(f"losses/{name}.md" for name in SUBJECTS)]
)
def test_the_code_runs(path):
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / path).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, path, "exec"), names)


def test_figures_can_be_made_and_stale_files_go(tmp_path, monkeypatch):
    pytest.importorskip("altair")
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    monkeypatch.setattr(make, "subjects", lambda: {"mae": ["mae", "nmae", "nnmae"]})
    (tmp_path / "old.svg").write_text("")
    make.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "mae.md", "mae.svg"]
    assert (tmp_path / "mae.md").read_text(encoding="utf-8") == read("mae")
    text = (tmp_path / "mae.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert text.count("<text") > 30


def test_a_sheet_keeps_each_loss_readable():
    pytest.importorskip("altair")
    from noisylabels.core.checks import InputError
    from noisylabels.report.figures import loss_sheet

    sheet = loss_sheet({name: make.thinned(name) for name in ("amse", "nce", "peer")}, 10).to_dict()
    panels = sheet["concat"]
    assert [panel.get("title", {}).get("text") for panel in panels] == [
        "amse",
        "nce",
        "peer",
        *[None] * 6,
    ]
    low, high = panels[0]["encoding"]["y"]["scale"]["domain"]
    assert 80 < low < high < 100  # from 84 to 90: an axis from 0 would show a flat line
    assert panels[1]["encoding"]["y"]["scale"]["domain"][0] == 0.0
    assert (
        panels[5]["encoding"]["y"]["scale"]["domain"][1] >= 0.0
    )  # a constant gradient, and zero to see it by
    weights = panels[6]["data"]["values"]
    assert [row["weight"] for row in weights] == make.thinned("amse")["weight"]
    with pytest.raises(InputError, match="no curve to draw"):
        loss_sheet({}, 10)


def test_no_axis_has_a_number_twice():
    """Rounding the coordinates of a figure must leave the numbers on its axes alone."""
    ends = {"0.0", "1.0"}  # where one axis stops and the next begins
    pictures = sorted((DOCS / "losses").glob("*.svg"))
    assert len(pictures) == len(SUBJECTS)
    for path in pictures:
        numbers = re.findall(r">(−?[\d.,]+)<", path.read_text(encoding="utf-8"))
        twice = [a for a, b in itertools.pairwise(numbers) if a == b and a not in ends]
        assert numbers, path.name
        assert not twice, path.name
