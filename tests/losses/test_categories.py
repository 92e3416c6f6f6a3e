"""Categories of and relations between losses, against the paper's tables and cases worked by hand."""

from __future__ import annotations

import pytest

from noisylabels.core.checks import InputError
from noisylabels.losses import LOSSES, PAPER, loss
from noisylabels.losses.categories import CATEGORIES, category, normalized_of, parts


def test_the_categories_of_the_paper():
    """Tables 1 and 2: CE and FL; MAE and RCE; four normalized; four combined."""
    assert [category(name) for name in PAPER] == (
        ["standard"] * 2 + ["robust"] * 2 + ["normalized"] * 4 + ["combined"] * 4
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2*NMAE", "normalized"),
        ("nce+nce", "normalized"),  # one term, twice
        ("nnce", "robust"),
        ("gce", "standard"),
        ("gce(q=1)", "robust"),  # half the MAE
        ("sce", "combined"),
        ("nce+rce@cifar100", "combined"),
        ("mse", "standard"),
        ("logit_clip(ce)", "standard"),
        ("logit_clip(mae)", "robust"),
        ("eps_softmax(nce)", "normalized"),
        ("peer(mae)", "standard"),  # depends on the batch
        ("logit_clip(nce+mae)", "combined"),
    ],
)
def test_categories(text, wanted):
    assert category(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ce", ["ce"]),
        ("nce+2*mae", ["nce", "mae"]),
        ("2*mae + nfl(gamma=2)", ["nfl(gamma=2)", "mae"]),
        ("sce", ["ce", "rce"]),
        ("logit_clip(nce+2*mae, tau=2)", ["logit_clip(nce,tau=2)", "logit_clip(mae,tau=2)"]),
    ],
)
def test_parts(text, wanted):
    assert parts(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ce", "nce"),
        ("3*CE", "nce"),
        ("fl(gamma=2)", "nfl(gamma=2)"),
        ("fl(gamma=0.5)", "nfl"),
        ("mae", "nmae"),
        ("nce", None),
        ("nnce", None),
        ("nce+mae", None),
        ("logit_clip(ce)", None),
        ("mse", None),
        ("gjs", None),
    ],
)
def test_normalized_forms(text, wanted):
    assert normalized_of(text) == wanted


def test_every_loss_of_the_catalog_has_its_place():
    for name in LOSSES:
        assert category(name) in CATEGORIES
        assert all(loss(part).expression == part for part in parts(name))
        assert normalized_of(name) is None or normalized_of(name) in LOSSES


def test_what_is_no_loss():
    for function in (category, parts, normalized_of):
        with pytest.raises(InputError, match="unknown loss 'nec'; did you mean 'nce'"):
            function("nec")
