"""The look of a loss: a function of its expression alone, distinct within the catalog and to any eye."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from noisylabels.losses import LOSSES, PAPER, loss
from noisylabels.losses.categories import is_passive, parts
from noisylabels.losses.varying import RULES
from noisylabels.methods.catalog import METHODS
from noisylabels.report.theme import DARK, FAMILIES, shade
from noisylabels.study.looks import loss_look, loss_theme
from vision import VISION, lab


def test_a_loss_looks_the_same_in_any_company_and_order():
    orders = (list(PAPER), list(PAPER)[::-1], ["mae"], ["2*mae", "mae", "ce"])
    themes = [loss_theme(names) for names in orders]
    assert len({theme.look("mae") for theme in themes}) == 1
    for theme in themes:
        assert all(theme.look(name) == loss_look(name) for name in theme.names)


def test_the_looks_of_the_paper_are_known():
    """A change of these is seen by readers of figures that are printed already."""
    found = {name: (loss_look(name).color, loss_look(name).dash) for name in ("ce", "nce", "mae", "nce+mae")}
    assert found == {
        "ce": ("#000000", (1, 0)),
        "nce": ("#C98600", (2, 2)),
        "mae": ("#189499", (4, 2)),
        "nce+mae": ("#BE33B9", (1, 0)),
    }


def test_hue_and_shape_are_those_of_the_family():
    """Families as in the paper's figures, found here from the losses themselves."""
    visited = 0
    for name in LOSSES:
        terms = parts(name)
        if len(terms) > 1:
            family = "sum"
        elif is_passive(name):
            family = "passive"
        else:
            family = "normalized" if loss(name).label_sum(10) == 1 else "standard"
        found = loss_look(name)
        assert found.color in FAMILIES[family].colors, name
        assert found.shape == FAMILIES[family].shape, name
        visited += 1
    assert visited == 74
    colors = [color for name, family in FAMILIES.items() if name != "method" for color in family.colors]
    assert len(colors) == len(set(colors))


def test_no_two_losses_of_the_catalog_look_alike():
    assert len({loss_look(name)[:2] for name in LOSSES}) == len(LOSSES) == 74


def test_weights_and_parameters_keep_the_hue_and_change_the_dash():
    ratios = ["nce+mae", "nce+2*mae", "nce+4*mae", "nce+8*mae", "2*nce+mae", "4*nce+mae", "8*nce+mae"]
    looks = [loss_look(name) for name in ratios]
    assert len({(each.color, each.shape) for each in looks}) == 1
    assert len({each.dash for each in looks}) == 7
    for base, other in (
        ("gce", "gce(q=0.3)"),
        ("mae", "2*mae"),
        ("nce+mae", "2*nce+2*mae"),
        ("fl", "fl(gamma=2)"),
        ("sce", "sce(beta=4)"),
        ("logit_clip(nce+mae)", "logit_clip(nce+mae,tau=4)"),
    ):
        assert loss_look(base).color == loss_look(other).color, other
        assert loss_look(base).dash != loss_look(other).dash, other


def test_weights_that_vary_have_a_shade_and_each_way_a_dash():
    ways = [f"auto(rule={rule})" for rule in RULES] + ["linear(0.1,10)"]
    names = [f"nce+{way}*mae" for way in ways]
    looks = [loss_look(name) for name in names]
    assert {each.color for each in looks} == {shade(loss_look("nce+mae").color)}
    assert len({each.dash for each in looks}) == len(ways) == 5
    found = [loss_look(name) for name in ("nce+linear(0.1,10)*mae", "auto(rule=agreement)*nce+mae")]
    assert found[0].dash != found[1].dash
    assert loss_look("auto(rule=gradient)*nce+mae").dash != loss_look("nce+auto(rule=gradient)*mae").dash
    for family in FAMILIES.values():
        for color in family.colors:
            assert lab(shade(color), VISION["all cones"])[0] < 75
            assert abs(lab(shade(color), VISION["all cones"])[0] - lab(color, VISION["all cones"])[0]) > 8


def test_a_loss_of_ones_own_and_other_names_have_a_look_that_stays():
    names = ["mine.py:f", "normalize(mine.py:f)", "nce+mine.py:f", "ce+fl+mae", "no loss at all", ""]
    for name in names:
        assert loss_look(name) == loss_look(name)
        assert loss_look(name).color in {c for family in FAMILIES.values() for c in family.colors}
    assert loss_look("mine.py:f") != loss_look("ce")
    assert loss_look("nce+mine.py:f").shape == "diamond"
    taken = {loss_look(name)[:2] for name in LOSSES}
    assert not taken & {loss_look(name)[:2] for name in names}


def test_a_method_has_the_color_and_its_loss_the_dash_and_shape():
    names = [f"ce by {name}" for name in METHODS]
    assert len({loss_look(name)[:2] for name in names}) == len(METHODS) == 19
    inside = [loss_look(f"{name} by elr") for name in ("ce", "nce", "mae", "nce+mae", "nce+agce")]
    assert len({each.color for each in inside}) == 1
    assert len({(each.dash, each.shape) for each in inside}) == 5
    assert loss_look("ce by elr(lambda_=5)").color == inside[0].color
    assert loss_look("ce by elr(lambda_=5)").dash != inside[0].dash
    assert loss_look("ce by mine.py:Mine").color in FAMILIES["method"].colors


@pytest.mark.parametrize("vision", VISION)
def test_the_losses_of_the_paper_are_told_apart_by_color_alone(vision):
    seen = {name: lab(loss_look(name).color, VISION[vision]) for name in PAPER}
    distances = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(PAPER, 2)}
    assert len(distances) == 66
    assert min(distances.values()) > 16


def test_in_gray_equally_light_losses_of_the_paper_have_other_dashes():
    light = {name: lab(loss_look(name).color, VISION["all cones"])[0] for name in PAPER}
    close = [(a, b) for a, b in itertools.combinations(PAPER, 2) if abs(light[a] - light[b]) < 15]
    assert len(close) > 10
    for a, b in close:
        assert loss_look(a).dash != loss_look(b).dash, (a, b)


def inverted(color: str) -> str:
    """Return a color as CSS's invert(1) hue-rotate(180deg) shows it, as on dark pages."""
    turn = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    shown = np.clip(turn @ (1 - srgb), 0, 1)
    return "#" + "".join(f"{round(255 * value):02X}" for value in shown)


def test_the_losses_of_the_paper_are_legible_on_dark_pages():
    assert "invert(1) hue-rotate(180deg)" in DARK
    assert inverted("#FFFFFF") == "#000000"
    assert inverted("#000000") == "#FFFFFF"
    seen = {name: lab(inverted(loss_look(name).color), VISION["all cones"]) for name in PAPER}
    assert min(each[0] for each in seen.values()) > 44  # of 100, on black
    pairs = itertools.combinations(seen.values(), 2)
    assert min(np.linalg.norm(a - b) for a, b in pairs) > 12
