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

from noisylabels.report.axes import share_domain
from noisylabels.report.figure_files import WIDEST, draw
from noisylabels.report.panels import VEGA_LITE, Figure, Panel, dots, heatmap, lines, pairs
from noisylabels.report.ranking import ranking
from noisylabels.report.theme import DASHES, FAMILIES, PALETTE, SHAPES, Theme, look
from vision import VISION, lab

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
    for color in {*PALETTE, *(color for family in FAMILIES.values() for color in family.colors)}:
        assert lab(color, VISION["all cones"])[0] < 75
    assert len({tuple(dash) for dash in DASHES}) == 7
    assert len(set(SHAPES)) == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_places_of_a_family_look_different(family):
    count = 7 * len(FAMILIES[family].colors)
    assert len({look(family, place)[:2] for place in range(count)}) == count
    first = look(family, 3)
    variants = [look(family, 3, variant) for variant in range(-3, 4)]
    assert {(each.color, each.shape) for each in variants} == {(first.color, first.shape)}
    assert len({each.dash for each in variants}) == 7


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
        "lines without a spread": {"epoch", "test accuracy, from 10 %", *PLAIN},
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
    for channel, looks in (("color", theme.color), ("strokeDash", theme.dash), ("shape", theme.shape)):
        found = list(scales(spec, channel))
        assert found
        for each in found:
            assert each == {name: json.dumps(looks(name)) for name in each}


def legends(spec):
    """Return the legends of a figure: their names, and which of color, dash and shape they show."""
    if isinstance(spec, dict):
        if isinstance(values := spec.get("data", {}).get("values"), list) and set(values[0]) == {"name"}:
            channels = {key for layer in spec["layer"] for key in layer["encoding"]}
            return [([row["name"] for row in values], channels & {"color", "strokeDash", "shape"})]
        return [found for value in spec.values() for found in legends(value)]
    return [found for value in spec for found in legends(value)] if isinstance(spec, list) else []


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_figure_has_one_legend(points, count, check):
    theme = Theme(PLAIN)
    axes = {"x_title": "epoch", "y_title": "test accuracy", "points": points}
    panels = [lines(f"panel {k}", spread(PLAIN), theme, PLAIN, **axes) for k in range(count)]
    spec = Figure("f", "T", "C", panels).spec()
    check(spec)
    looks = {"color", "strokeDash", *(["shape"] if points else [])}
    assert legends(spec) == [(PLAIN, looks)]
    written = texts(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    assert [written.count(name) for name in PLAIN] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["heatmap", "dots", "pairs", "ranking"])
def test_names_on_an_axis_need_no_legend(kind):
    assert legends(Figure("f", "T", "C", [made(kind, PLAIN)] * 2).spec()) == []


def test_points_have_an_edge_that_dashes_do_not_reach():
    layers = made("lines of points", PLAIN).for_page()["layer"][0]["layer"]
    (point,) = [layer for layer in layers if layer["mark"]["type"] == "point"]
    assert point["mark"]["stroke"] == "white"
    assert "strokeDash" not in point["encoding"]
    assert layers[-1] is point  # above the lines


@pytest.mark.parametrize(("domain", "cut"), [(None, False), ((0, 1), False), ((0, 0.2), True)])
def test_points_on_the_edge_are_whole(domain, cut):
    rows = [{"loss": "ce", "x": x, "y": y} for x, y in enumerate((0.0, 0.3, 1.0))]
    panel = lines("", rows, Theme(["ce"]), ["ce"], x_title="x", y_title="y", points=True, domain=domain)
    (clip,) = [
        layer["mark"]["clip"]
        for layer in panel.for_file(titled=False)["layer"]
        if layer["mark"]["type"] == "point"
    ]
    assert clip is cut


def y_axis(panel):
    """Return the domain, the title and the format of the y axis of a panel of lines."""
    spec = panel.for_file(titled=False)
    found = next(layer["encoding"]["y"] for layer in spec["layer"] if layer["mark"]["type"] == "line")
    return found["scale"].get("domain"), found["title"], found["axis"]["format"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.884, 0.951, ([0.88, 0.96], "accuracy, from 88 %", ".0%")),
        (0.85, 0.95, ([0.85, 0.95], "accuracy, from 85 %", ".0%")),  # ten points
        (0.84, 0.95, ([0.8, 1.0], "accuracy, from 80 %", ".0%")),
        (0.02, 0.93, ([0.0, 1.0], "accuracy", ".0%")),
        (0.961, 0.984, ([0.96, 0.99], "accuracy, from 96 %", ".1%")),
        (0.97, 0.97, ([0.96, 0.98], "accuracy, from 96 %", ".1%")),
        (0.0, 0.0, ([0.0, 0.01], "accuracy", ".1%")),
    ],
)
def test_an_axis_of_shares_is_fitted_to_lines_within_ten_points_and_says_so(low, high, expected):
    rows = [{"loss": "ce", "x": x, "y": y} for x, y in enumerate((low, high))]
    panel = lines("", rows, Theme(["ce"]), ["ce"], x_title="epoch", y_title="accuracy")
    assert y_axis(panel) == expected


def test_an_axis_of_shares_holds_the_bands_and_is_common_to_panels():
    rows = [{"y": 0.95, "low": 0.899, "high": 1.02}, {"y": 0.97}]
    assert share_domain([rows]) == (0.89, 1.0)
    assert share_domain([rows, [{"y": 0.5}]]) == (0.5, 1.0)
    assert share_domain([rows, [{"y": 0.5}]], (0, 1)) == (0.0, 1.0)
    assert share_domain([rows], (0, 1)) == (0.89, 1.0)
    chosen = lines("", spread(["ce"]), Theme(["ce"]), ["ce"], x_title="x", y_title="y", domain=(0, 0.6))
    assert y_axis(chosen)[:2] == ([0, 0.6], "y")
    other = lines("", spread(["ce"]), Theme(["ce"]), ["ce"], x_title="x", y_title="norm", format=".2f")
    assert y_axis(other) == (None, "norm", ".2f")


def test_points_and_bands_carry_the_rows(check):
    panel = made("lines", ["ce"])
    assert [row["y"] for row in panel.rows] == [0.1, 0.2, 0.3]
    svg = vl_convert.vegalite_to_svg(Figure("f", "T", "C", [panel]).spec(), vl_version=VEGA_LITE)
    marks = re.findall(r'aria-roledescription="([\w ]+mark)"', svg)
    assert marks == ["area mark", "line mark", "rule mark", "text mark"]  # the last two: the legend
    without = vl_convert.vegalite_to_svg(
        Figure("f", "T", "C", [made("lines without a spread", ["ce"])]).spec(), vl_version=VEGA_LITE
    )
    assert "area mark" not in re.findall(r'aria-roledescription="([\w ]+mark)"', without)


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
