"""The diagrams of Figures 1, 2 and 9 contain what the losses and the network say."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from torch import nn

from noisylabels.models import build_model
from noisylabels.paper.diagrams import EXAMPLE, GIVEN, blocks, diagrams, network, normalization
from noisylabels.paper.report import numbered
from noisylabels.report.diagram import Canvas, draw_diagram
from noisylabels.report.theme import DARK
from noisylabels.study.looks import loss_look

DOCS = Path(__file__).parents[2] / "docs"


def texts(svg):
    """Return the lines of text of a drawing, which must be XML, without the minus sign of print."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()).replace("−", "-") for each in found]


def test_the_files_of_the_docs_are_up_to_date():
    drawn = {f"{each.name}.svg": each.svg for each in diagrams()}
    assert list(drawn) == ["eq1-normalization.svg", "eq2-active-passive.svg", "network.svg"]
    again = "run python docs/make_diagrams.py"
    found = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "diagrams").iterdir()}
    assert found == drawn, again


@pytest.mark.parametrize("base", ["ce", "mae"])
def test_figure_1_shows_eq_1(base):
    diagram = normalization(base)
    written = texts(diagram.svg)
    costs = [-math.log(p) if base == "ce" else 2 * (1 - p) for p in EXAMPLE]
    total = sum(costs)
    for cost, p in zip(costs, EXAMPLE, strict=True):
        assert {f"{p:.2f}", f"{cost:.3f}", f"{cost / total:.3f}"} <= set(written)
    assert (
        f"loss of the given label: {costs[GIVEN]:.3f} / {total:.3f} = {costs[GIVEN] / total:.3f}" in written
    )
    assert [text for text in written if text.startswith("Σ")] == ["Σ = 1", f"Σ = {total:.3f}", "Σ = 1"]
    # the bars of a column are as long as its numbers say
    bars = re.findall(r'height="18" fill="(#\w+)"/>', diagram.svg)
    assert bars == ["#5b7fb5"] * 4 + [loss_look(base).color] * 4 + [loss_look(f"n{base}").color] * 4
    lengths = [float(width) for width in re.findall(r'width="([\d.]+)" height="18"', diagram.svg)]
    for column, values in ((lengths[4:8], costs), (lengths[8:], costs)):
        assert [each / max(column) for each in column] == pytest.approx(
            [value / max(values) for value in values], abs=1e-3
        )


def test_figure_2_shows_the_terms_of_the_papers_sums():
    (diagram,) = (each for each in diagrams() if each.name == "eq2-active-passive")
    written = texts(diagram.svg)
    assert {"active term", "passive term", "nce", "nfl", "mae", "rce"} <= set(written)
    values = {"-log py", "Σk [-log pk]", "-(1-py)γ log py", "Σk [-(1-pk)γ log pk]", "2 (1-py)", "-A (1-py)"}
    assert values <= set(written)
    assert "LAPL = α Lactive + β Lpassive,  α = β = 1 in the paper" in written
    boxes = re.findall(r'<rect x="(\d+)"[^>]*height="172" rx="7" fill="\S+" stroke="(#\w+)"', diagram.svg)
    assert boxes == [("10", "#c98600"), ("290", "#00805a")]


def test_figure_9_shows_the_layers_of_the_network():
    model = build_model("cnn8", channels=3, image_size=(32, 32), num_classes=10).eval()
    rows = list(blocks(model, (3, 32, 32)))
    assert [row.shape for row in rows] == [(64, 16, 16), (128, 8, 8), (196, 4, 4), (3136,), (256,), (10,)]
    assert sum(row.parameters for row in rows) == sum(each.numel() for each in model.parameters())
    convolution = [["3×3 conv, 196", "BN", "ReLU"]] * 2
    assert rows[2].layers == [*convolution, ["2×2 max pool"]]
    assert rows[4].layers == [["linear, 256", "BN", "ReLU"]]
    diagram = network()
    written = texts(diagram.svg)
    assert "1,639,794 in all" in written
    assert "8 layers with weights: 6 convolutions and 2 linear layers" in diagram.caption
    for row in rows:
        assert " × ".join(map(str, row.shape)) in written
    assert sum("conv" in text for text in written) == 6


def test_another_network_is_drawn_as_it_is_and_an_unknown_layer_refused():
    written = texts(network("small-cnn", (1, 8, 8), 3).svg)
    assert "1 × 8 × 8" in written
    assert "linear, 3" in written
    with pytest.raises(TypeError, match="no words for a layer of the type Dropout"):
        list(blocks(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)), (1, 2, 2)))


def test_they_are_numbered_and_written_in_every_format(tmp_path):
    assert [numbered(each).title.rpartition(" (")[2] for each in diagrams()] == [
        "Figure 1)",
        "Figure 2)",
        "Figure 9)",
    ]
    for diagram in diagrams():
        svg, png, pdf = draw_diagram(diagram, tmp_path, (".svg", ".png", ".pdf"))
        assert DARK in svg.read_text(encoding="utf-8")
        assert png.read_bytes()[:4] == b"\x89PNG"
        assert pdf.read_bytes()[:5] == b"%PDF-"


def test_text_is_text_and_stays_within(tmp_path):
    canvas = Canvas(100, 50, 'a "label" & <more>')
    canvas.text(10, 10, "x_{k+1}^2 <b> & -1")
    assert texts(canvas.svg()) == ["xk+12 <b> & -1"]
    for diagram in diagrams():
        root = ElementTree.fromstring(diagram.svg)
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for each in root.iter("{http://www.w3.org/2000/svg}text"):
            x, y = float(each.attrib["x"]), float(each.attrib["y"])
            size, text = float(each.attrib["font-size"]), "".join(each.itertext())
            wide = 0.58 * size * len(text)
            left = {"start": x, "middle": x - wide / 2, "end": x - wide}[each.attrib["text-anchor"]]
            assert left >= 0, text
            assert left + wide <= width, text
            assert size <= y <= height, text
