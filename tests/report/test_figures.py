"""Figures: the content of the charts, and the files written."""

from __future__ import annotations

import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.report.figures import loss_curves, save, transition_matrices
from noisylabels.report.theme import DASHES, PALETTE, Look, Theme


def curve(factor=1.0):
    p = [1e-4, *(k / 20 for k in range(1, 20)), 1 - 1e-4]
    return {"p": p, "value": [-factor * math.log(q) for q in p], "gradient": [factor * (q - 1) for q in p]}


@pytest.fixture
def chart():
    return loss_curves({"ce": curve(), "0.5*ce": curve(0.5)}, 10)


def test_two_panels_with_every_point_and_named_axes(chart):
    spec = chart.to_dict()
    value, gradient = spec["hconcat"]
    rows = spec["data"]["values"]
    assert len(rows) == 2 * 21
    assert rows[0] == {"loss": "ce", "p": 1e-4, "value": -math.log(1e-4), "gradient": 1e-4 - 1}
    for panel, key in ((value, "value"), (gradient, "gradient")):
        assert panel["encoding"]["y"]["field"] == key
        assert panel["encoding"]["x"]["title"] == "probability of the label, p"
        assert len(panel["encoding"]["y"]["title"]) > 3
        assert panel["title"]
        assert panel["mark"]["clip"]
    assert "10 classes" in spec["title"]["text"]
    assert spec["config"]["background"] == "white"


def test_a_pole_does_not_flatten_the_rest(chart):
    value, gradient = (panel["encoding"]["y"]["scale"]["domain"] for panel in chart.to_dict()["hconcat"])
    assert value[0] == 0
    assert 2.9 < value[1] < 3.3  # -log 0.05 is 3, -log 1e-4 is 9.2
    assert -1.1 < gradient[0] < -1  # no pole here: all of it is shown
    assert 0 <= gradient[1] < 0.1
    flat = {"p": [0.2, 0.8], "value": [0.0, 0.0], "gradient": [0.0, 0.0]}
    low, high = loss_curves({"zero": flat}, 2).to_dict()["hconcat"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < high


def test_no_two_of_84_lines_look_alike():
    names = [f"loss {k}" for k in range(84)]
    encoding = loss_curves(dict.fromkeys(names, curve()), 3).to_dict()["hconcat"][0]["encoding"]
    colors, dashes = (encoding[key]["scale"]["range"] for key in ("color", "strokeDash"))
    assert encoding["color"]["scale"]["domain"] == names
    assert len({(c, tuple(d)) for c, d in zip(colors, dashes, strict=True)}) == 84
    assert len(set(PALETTE)) == 12
    assert len(set(DASHES)) == 7


def test_a_theme_gives_the_looks():
    theme = Theme(["ce", "mae"], {"mae": Look("#123456", (5, 5), "square")})
    drawn = loss_curves({"mae": curve(), "ce": curve()}, 3, theme).to_dict()["hconcat"][0]["encoding"]
    assert drawn["color"]["scale"] == {"domain": ["mae", "ce"], "range": ["#123456", PALETTE[0]]}
    assert drawn["strokeDash"]["scale"]["range"] == [[5, 5], [1, 0]]


def test_formats(chart, tmp_path):
    for suffix in ("svg", "png", "html", "json", "PNG"):
        save(chart, tmp_path / "deep" / f"figure.{suffix}")
    folder = tmp_path / "deep"
    assert ElementTree.parse(folder / "figure.svg").getroot().tag.endswith("svg")
    with Image.open(folder / "figure.png") as image:
        assert image.format == "PNG"
        assert image.width > 1500  # at scale 2
        assert image.getpixel((2, 2))[:3] == (255, 255, 255)
    assert json.loads((folder / "figure.json").read_text())["hconcat"]
    page = (folder / "figure.html").read_text()
    assert "<script src=" not in page  # works offline
    assert sorted(path.name for path in folder.iterdir()) == [
        "figure.PNG",
        "figure.html",
        "figure.json",
        "figure.png",
        "figure.svg",
    ]


def test_names_with_brackets_and_dots_are_drawn(tmp_path):
    save(loss_curves({"2*nce+0.5*rce(A=-4.5)": curve(), "a.b[c]": curve(2)}, 10), str(tmp_path / "odd.svg"))
    assert "rce(A=-4.5)" in (tmp_path / "odd.svg").read_text()


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.sgv"])
def test_unknown_suffix(chart, tmp_path, name):
    with pytest.raises(InputError, match=r"expected \.svg, \.png, \.html, \.json") as caught:
        save(chart, tmp_path / name)
    assert ("did you mean '.svg'?" in str(caught.value)) == name.endswith("sgv")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(chart, tmp_path, monkeypatch):
    path = tmp_path / "figure.svg"
    path.write_text("old")

    def fail(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match=r"figure.svg cannot be written: No space left on device"):
        save(chart, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.svg"]
    with pytest.raises(InputError, match="cannot be written"):
        save(chart, path / "below.svg")


def test_nothing_to_draw():
    with pytest.raises(InputError, match="no curve to draw"):
        loss_curves({}, 10)


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_missing_packages_are_named(chart, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)  # as if it was not installed
    with pytest.raises(InputError, match=r"pip install 'noisylabels\[report\]'"):
        loss_curves({"ce": curve()}, 10)
    with pytest.raises(InputError, match=r"pip install 'noisylabels\[report\]'"):
        save(chart, tmp_path / "figure.svg")


def test_transition_matrices(tmp_path):
    realized, nominal = [[0.75, 0.25], [0.0, 1.0]], [[0.8, 0.2], [0.0002, 0.9998]]
    chart = transition_matrices(realized, nominal, ["cat", "dog"], "pets, pairflip:0.2 " * 12)
    spec = chart.to_dict()
    assert [panel["title"] for panel in spec["hconcat"]] == ["realized, per cent", "nominal, per cent"]
    assert len(spec["title"]["text"]) > 1  # a long title is cut into lines
    text = json.dumps(spec)
    for share in (0.75, 0.25, 0.8, 0.2, 0.0002, 0.9998):
        assert f'"share": {share}' in text
    for suffix in (".svg", ".png", ".html"):
        save(chart, tmp_path / f"m{suffix}")
    drawn = (tmp_path / "m.svg").read_text()
    for words in ("75.0", "80.0", "20.0", "true class", "given label", "cat", "dog"):
        assert f">{words}<" in drawn
    assert ">0.0<" not in drawn  # a number that says nothing is left out
    alone = transition_matrices(realized, None, ["cat", "dog"], "people").to_dict()
    assert len(alone["hconcat"]) == 1


def test_transition_matrices_of_many_classes(tmp_path):
    K = 100
    matrix = [[float(i == j) for j in range(K)] for i in range(K)]
    save(transition_matrices(matrix, matrix, [f"c{k}" for k in range(K)], "many"), tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.width > image.height > 1000
    with pytest.raises(
        InputError, match="a figure of the transition matrix shows at most 100 classes, not 101"
    ):
        transition_matrices([[1.0] * 101] * 101, None, ["c"] * 101, "too many")
