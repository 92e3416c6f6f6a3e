"""Panels, the ranking diagram and the theme: valid Vega-Lite that renders for any name of a loss."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import vl_convert
from PIL import Image

from noisylabels.report.figure_files import WIDEST, draw
from noisylabels.report.panels import VEGA_LITE, Figure, Panel, dots, heatmap, lines, pairs
from noisylabels.report.ranking import ranking
from noisylabels.report.theme import DASHES, PALETTE, SHAPES, Theme

ODD = [
    "2*nce+0.5*rce(A=-4.5)",
    "a.b[c]",
    "'my losses.py:f'",
    """it's "quoted\"""",
    "<script>alert(1)</script> & <b>",
    r"C:\me\new losses\mine.py:f",
    "ε-softmax · 損失",
    "",
    "x",  # as a column is called
]
PLAIN = ["ce", "mae", "nce+mae"]

# Looks --------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB
VISION = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "all cones": np.eye(3).tolist(),
}


def lab(color: str, vision: list[list[float]]) -> np.ndarray:
    """Return CIELAB (D65) of a color as somebody sees it."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(vision) @ linear, 0, 1)
    xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    t = xyz @ seen / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_simulation_knows_red_from_green_where_it_should():
    red, green = "#FF0000", "#00A000"
    near = np.linalg.norm(lab(red, VISION["deuteranopia"]) - lab(green, VISION["deuteranopia"]))
    far = np.linalg.norm(lab(red, VISION["all cones"]) - lab(green, VISION["all cones"]))
    assert near < far / 3
    assert lab("#FFFFFF", VISION["all cones"]) == pytest.approx([100, 0, 0], abs=0.1)
    for matrix in VISION.values():
        assert lab("#FFFFFF", matrix) == pytest.approx([100, 0, 0], abs=0.1)  # white stays white


@pytest.mark.parametrize(
    ("vision", "count"), [("protanopia", 0), ("deuteranopia", 1), ("tritanopia", 2), ("all cones", 0)]
)
def test_lines_that_look_alike_to_somebody_have_different_dashes(vision, count):
    """Of twelve losses, as in the paper."""
    names = [f"loss {k}" for k in range(12)]
    theme = Theme(names)
    seen = {name: lab(theme.color(name), VISION[vision]) for name in names}
    pairs_of = list(itertools.combinations(names, 2))
    close = [(a, b) for a, b in pairs_of if np.linalg.norm(seen[a] - seen[b]) < 12]
    assert len(close) == count
    assert all(theme.dash(a) != theme.dash(b) for a, b in close)
    assert all(theme.dash(a) != theme.dash(b) or theme.shape(a) != theme.shape(b) for a, b in pairs_of)


def test_colors_stand_out_from_white():
    for color in PALETTE:
        assert lab(color, VISION["all cones"])[0] < 75
    assert len({tuple(dash) for dash in DASHES}) == 4
    assert len(set(SHAPES)) == 6


def test_a_name_keeps_its_look_among_fewer():
    theme = Theme(["ce", "mae", "nce"])
    few = theme.encode("loss", ["nce"], "color", "strokeDash", "shape")
    assert few["color"].to_dict()["scale"] == {"domain": ["nce"], "range": [PALETTE[2]]}
    assert few["strokeDash"].to_dict()["scale"]["range"] == [list(DASHES[2])]
    assert few["shape"].to_dict()["scale"]["range"] == [SHAPES[2]]


# Every builder ------------------------------------------------------------------------------------


def spread(names):
    return [
        {"loss": name, "x": x, "y": place / 20 + x / 10, "low": place / 20, "high": place / 20 + x / 5}
        for place, name in enumerate(names)
        for x in (1, 2, 3)
    ]


def made(kind: str, names: list[str]) -> Panel:
    """Return a panel of each kind about some losses."""
    theme = Theme(names)
    axes = {"x_title": "epoch", "y_title": "test accuracy"}
    if kind == "lines":
        return lines("A panel", spread(names), theme, names, **axes)
    if kind == "lines of points":
        return lines(
            "A panel", spread(names), theme, names, **axes, points=True, ticks=[1, 2, 3], domain=(0, 1)
        )
    if kind == "lines without a spread":
        rows = [{k: row[k] for k in ("loss", "x", "y")} for row in spread(names)]
        return lines("A panel", rows, theme, names, **axes)
    told = [{"loss": name, "reading": f"{name}: told"} for name in names]
    if kind == "heatmap":
        rows = [
            row | {"name": row["loss"], "column": column, "value": 0.5, "text": "50.0"}
            for row in told
            for column in ("clean", *names)
        ]
        return heatmap("A panel", rows, columns=["clean", *names], names=names, x_title="noise")
    if kind in ("dots", "dots without zero"):
        rows = [row | {"x": 0.5, "mean": 0.5, "low": 0.4, "high": 0.6} for row in told]
        return dots("A panel", rows, theme, names=names, x_title="gap", zero=kind == "dots")
    if kind == "pairs":
        rows = [row | {"first": 0.5, "second": 0.6} for row in told]
        return pairs("A panel", rows, theme, names=names, x_title="accuracy", kinds=("last", "chosen"))
    assert kind == "ranking"
    ranks = {name: 1.0 + place for place, name in enumerate(names)}
    return ranking("A panel", ranks, [tuple(names[:2])], 1.5)


KINDS = [
    *("lines", "lines of points", "lines without a spread", "heatmap", "dots", "dots without zero", "pairs"),
    "ranking",
]


@pytest.fixture(scope="module")
def check():
    """Return what holds a specification to the schema of Vega-Lite, which charts are not at run time."""
    text = (resources.files("altair.vegalite.v6.schema") / "vega-lite-schema.json").read_text(
        encoding="utf-8"
    )
    return jsonschema.Draft7Validator(json.loads(text)).validate


def texts(svg: str) -> list[str]:
    """Return what is written in a picture, which must be XML."""
    return [
        "".join(element.itertext())
        for element in ElementTree.fromstring(svg).iter()
        if element.tag.endswith("text")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_is_valid_and_renders_whatever_losses_are_called(kind, check):
    panel = made(kind, ODD)
    spec = Figure("f", "A title", "A caption, n = 3", [panel, panel]).spec()
    check(spec)
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    written = texts(svg)
    assert written.count("A panel") == 2
    assert {"A title", "A caption, n = 3"} <= set(written)
    for name in filter(None, ODD):
        assert any(name in text for text in written), name
    assert "<script" not in svg
    assert "undefined" not in svg
    assert "NaN" not in svg


@pytest.mark.parametrize("kind", KINDS)
def test_a_panel_is_valid_on_a_page(kind, check):
    panel = made(kind, ODD)
    spec = panel.for_page()
    check(spec | {"datasets": {"rows": list(panel.rows)}})
    assert spec["width"] == "container"
    assert "title" not in spec
    assert "datasets" not in spec  # the page has the rows once
    svg = vl_convert.vegalite_to_svg(
        spec | {"width": 300, "datasets": {"rows": list(panel.rows)}}, vl_version=VEGA_LITE
    )
    assert "NaN" not in svg


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_named(kind):
    svg = vl_convert.vegalite_to_svg(Figure("f", "T", "C", [made(kind, PLAIN)]).spec(), vl_version=VEGA_LITE)
    wanted = {
        "lines": {"epoch", "test accuracy", *PLAIN},
        "lines of points": {"epoch", "test accuracy", *PLAIN},
        "lines without a spread": {"epoch", "test accuracy", *PLAIN},
        "heatmap": {"noise", "clean", "50.0", *PLAIN},
        "dots": {"gap", *PLAIN},
        "dots without zero": {"gap", *PLAIN},
        "pairs": {"accuracy (● last, ○ chosen)", *PLAIN},
        "ranking": {"CD = 1.50", "ce  1.00", "mae  2.00", "3.00  nce+mae", "1", "2", "3"},
    }[kind]
    assert wanted <= set(texts(svg))
    assert "A panel" not in texts(svg)  # alone, the figure's own title does


def scales(spec, channel):
    """Yield name -> look of every scale of a channel that is over names."""
    if isinstance(spec, dict):
        found = spec.get(channel)
        if isinstance(found, dict) and isinstance(found.get("field"), str) and found["field"] == "loss":
            yield dict(zip(found["scale"]["domain"], map(json.dumps, found["scale"]["range"]), strict=True))
        for value in spec.values():
            yield from scales(value, channel)
    elif isinstance(spec, list):
        for value in spec:
            yield from scales(value, channel)


def test_one_look_a_loss_in_all_panels():
    theme = Theme(["ce", "mae", "nce", "rce"])
    some = lines("", spread(["rce", "mae"]), theme, ["rce", "mae"], x_title="x", y_title="y", points=True)
    others = lines("", spread(["ce", "rce"]), theme, ["ce", "rce"], x_title="x", y_title="y")
    spec = Figure("f", "T", "C", [some, others]).spec()
    for channel, look in (("color", theme.color), ("strokeDash", theme.dash), ("shape", theme.shape)):
        found = list(scales(spec, channel))
        assert found
        for each in found:
            assert each == {name: json.dumps(look(name)) for name in each}


def test_points_and_bands_carry_the_rows(check):
    panel = made("lines", ["ce"])
    assert [row["y"] for row in panel.rows] == [0.1, 0.2, 0.3]
    svg = vl_convert.vegalite_to_svg(Figure("f", "T", "C", [panel]).spec(), vl_version=VEGA_LITE)
    marks = re.findall(r'aria-roledescription="([\w ]+mark)"', svg)
    assert len(marks) == 2  # the band and the line
    without = vl_convert.vegalite_to_svg(
        Figure("f", "T", "C", [made("lines without a spread", ["ce"])]).spec(), vl_version=VEGA_LITE
    )
    assert len(re.findall(r'aria-roledescription="([\w ]+mark)"', without)) == 1


def test_files(tmp_path):
    wide = Figure("wide", "T", "C", [made("lines", PLAIN)] * 8, columns=8)
    narrow = Figure("narrow", "T", "C", [made("lines", PLAIN)])

    for figure, limit in ((wide, WIDEST), (narrow, None)):
        paths = draw(figure, tmp_path)
        assert [path.name for path in paths] == [
            f"{figure.name}{suffix}" for suffix in (".svg", ".png", ".pdf")
        ]
        size = ElementTree.parse(paths[0]).getroot().attrib
        with Image.open(paths[1]) as image:
            assert image.width == pytest.approx(limit or 2 * float(size["width"]), abs=2)
            assert image.getpixel((1, 1))[:3] == (255, 255, 255)
        assert paths[2].read_bytes()[:5] == b"%PDF-"
    assert len(list(tmp_path.iterdir())) == 6  # and nothing temporary
    assert draw(narrow, tmp_path / "new", (".png",)) == [Path(tmp_path / "new" / "narrow.png")]


# The ranking diagram ------------------------------------------------------------------------------

RANKS = {"d": 4.6, "a": 1.25, "c": 2.5, "b": 2.0, "e": 4.65}
GROUPS = [("a", "b", "c"), ("d", "e")]


def of(panel, kind):
    return [row for row in panel.rows if row["kind"] == kind]


def test_every_loss_hangs_at_its_mean_rank():
    panel = ranking("", RANKS, GROUPS, 1.3)
    for name, at in RANKS.items():
        (x0, y0), (x1, y1), (x2, y2) = [(r["x"], r["y"]) for r in of(panel, "elbow") if r["of"] == name]
        assert (x0, y0) == (at, 0.0)  # on the axis, where it belongs
        assert x1 == at  # straight down
        assert y1 == y2 > 0
        assert x2 < 1 or x2 > 5  # out to its side
    assert [row["name"] for row in of(panel, "left")] == ["a  1.25", "b  2.00", "c  2.50"]
    assert [row["name"] for row in of(panel, "right")] == ["4.60  d", "4.65  e"]
    (axis,) = of(panel, "axis")
    assert (axis["x"], axis["x2"], axis["y"]) == (1, 5, 0)
    assert [(row["x"], row["name"]) for row in of(panel, "tick")] == [(k, str(k)) for k in range(1, 6)]


def test_no_line_of_one_crosses_the_name_of_another():
    """On each side, what hangs further in hangs deeper."""
    panel = ranking("", RANKS, GROUPS, 1.3)
    depth = {row["of"]: row["y"] for row in of(panel, "elbow") if row["step"] == 2}
    assert depth["a"] < depth["b"] < depth["c"]
    assert depth["e"] < depth["d"]
    assert len({depth[name] for name in "abc"}) == 3


def test_groups_are_bars_over_their_losses():
    panel = ranking("", RANKS, GROUPS, 1.3)
    bars = of(panel, "bar")
    assert [(bar["x"], bar["x2"]) for bar in bars] == [
        (pytest.approx(1.25, abs=0.1), pytest.approx(2.5, abs=0.1)),
        (pytest.approx(4.6, abs=0.1), pytest.approx(4.65, abs=0.1)),
    ]
    for bar, group in zip(bars, GROUPS, strict=True):
        assert all(bar["x"] < RANKS[name] < bar["x2"] for name in group)
        assert not any(bar["x"] < RANKS[name] < bar["x2"] for name in set(RANKS) - set(group))
    lowest = max(bar["y"] for bar in bars)
    assert len({bar["y"] for bar in bars}) == 2
    assert 0 < lowest < min(row["y"] for row in of(panel, "left"))  # between the axis and the names


def test_the_critical_difference_is_a_length_of_the_axis():
    (length,) = of(ranking("", RANKS, (), 1.3), "length")
    assert length["x2"] - length["x"] == pytest.approx(1.3)
    assert length["y"] < 0
    assert of(ranking("", RANKS, (), 1.3), "bar") == []


@pytest.mark.parametrize("count", [2, 3, 12, 40])
def test_names_are_all_within_the_picture(count):
    names = [f"a rather long loss({k})" for k in range(count)]
    panel = ranking("", {name: 1 + k for k, name in enumerate(names)}, (), 2.0)
    svg = vl_convert.vegalite_to_svg(Figure("f", "T", "C", [panel]).spec(), vl_version=VEGA_LITE)
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    written = texts(svg)
    assert sum("a rather long loss" in text for text in written) == count
    y = [row["y"] for row in of(panel, "left") + of(panel, "right")]
    assert len(of(panel, "left")) - len(of(panel, "right")) in (0, 1)
    assert height > 20 * max(y)  # a line of text each
    assert width < 1000
