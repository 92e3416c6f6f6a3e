"""Comparison with published accuracies: which are compared, checked by hand, and which settings differ."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.experiment import load_config
from noisylabels.losses import loss as read_loss
from noisylabels.noise import MAPS
from noisylabels.paper.compare_published import (
    CONVENTIONS,
    NoiseSetting,
    compare_paper_with_literature,
    compare_published,
    dataset_of,
    explain_no_comparison,
    noise_setting,
)
from noisylabels.paper.published import published
from noisylabels.paper.published.rows import Published
from noisylabels.paper.published_names import NO_LOSS, SHAPES, published_method, shape_of
from noisylabels.paper.published_tables import (
    comparison_tables,
    literature_table,
    paper_literature_table,
    paper_tables,
)
from noisylabels.report.tables import comma_separated, hypertext, latex, markdown
from noisylabels.study.results import Results, Run, split

CIFAR10 = MAPS["cifar10"].class_names


def made_up(loss, noise, seed, accuracy, class_names=CIFAR10, **settings):
    """Return a finished run of the paper's recipe whose last epoch has this accuracy."""
    config = to_dict(load_config("paper", loss=loss, noise=noise, seed=seed, **settings))
    config["loss"] = read_loss(loss).expression
    curves = {"epoch": np.array([1.0, 2.0]), "test_accuracy": np.array([0.99, accuracy])}
    return Run(f"{loss} {noise} {seed}", "done", "", config, curves, class_names=class_names)


def results(*cells, **settings) -> Results:
    """Return results of cells (loss, noise, accuracies)."""
    runs = [
        made_up(loss, noise, seed, value, **settings)
        for loss, noise, values in cells
        for seed, value in enumerate(values)
    ]
    (found,) = split(runs)
    return found


# The methods ------------------------------------------------------------------------------------


def test_every_method_for_an_8_layer_cnn_is_a_loss_of_ours_or_listed_as_none():
    rows = [row for row in published(collection="literature") if row.model.startswith("8-layer CNN")]
    assert len(rows) == 206 + 36
    none = {name for names in NO_LOSS.values() for name in names}
    found = Counter()
    for row in rows:
        method = published_method(row)
        if method is None:
            assert row.method in none
            found["no loss of ours"] += 1
        elif method.expression is None:
            found["constants not known"] += 1
        else:
            assert shape_of(method.expression) == method.shape
            assert read_loss(method.expression)
            found["loss of ours"] += 1
    # one source: all but CE of 36 rows, all but CE and NCE of 8; then AMSE, AGCE+MAE, CE+LC
    unknown = 30 + 6 + 4 + 1 + 6
    assert found == {"loss of ours": 242 - unknown - 9, "constants not known": unknown, "no loss of ours": 9}
    assert {row.method for row in rows if published_method(row) is None} == {"NLNL"}
    assert len({row.method for row in rows}) == 25


def test_every_method_of_every_model_is_read_too():
    of_losses = (row for row in published() if row.collection != "methods")
    visited = [(row.method, published_method(row)) for row in of_losses]
    assert len(visited) == 947
    assert {name for name, method in visited if method is None} == {
        n for names in NO_LOSS.values() for n in names
    }


def test_the_papers_methods_are_our_defaults():
    rows = published(collection="paper")
    assert {published_method(row).expression for row in rows} == {row.method.lower() for row in rows}


# config.py of cswjl/eps-softmax, the constants of Ma et al. 2020 and of Active Negative Loss, by eye
@pytest.mark.parametrize(
    ("source", "dataset", "method", "noise", "rate", "expression"),
    [
        ("Wang 2024, Table 2", "CIFAR-10", "NCE+MAE", "symmetric", 0.4, "nce+mae"),
        ("Wang 2024, Table 2", "CIFAR-100", "NCE+MAE", "symmetric", 0.4, "10*nce+0.1*mae"),
        ("Wang 2024, Table 2", "CIFAR-10", "NCE+RCE", "symmetric", 0.4, "nce+rce(A=ln(1e-4))"),
        ("Wang 2024, Table 2", "CIFAR-100", "NCE+RCE", "symmetric", 0.4, "10*nce+0.1*rce(A=ln(1e-4))"),
        ("Wang 2024, Table 2", "CIFAR-10", "NCE+AGCE", "asymmetric", 0.4, "nce+4*agce(a=6,q=1.5)"),
        ("Wang 2024, Table 2", "CIFAR-10", "SCE", "clean", 0.0, "0.1*ce+rce(A=ln(1e-4))"),
        ("Wang 2024, Table 2", "CIFAR-10", "FL", "clean", 0.0, "fl(detach=1)"),
        ("Wang 2024, Table 2", "CIFAR-10", "CE+LC", "symmetric", 0.4, "logit_clip(ce)"),
        ("Wang 2024, Table 2", "CIFAR-10", "CE+LC", "symmetric", 0.6, None),
        ("Wang 2024, Table 2", "CIFAR-10", "LDR-KL", "symmetric", 0.6, "ldr_kl(lam=10)"),
        ("Wang 2024, Table 2", "CIFAR-10", "CE_eps+MAE", "symmetric", 0.6,
         "0.01*eps_softmax(ce,m=1e5)+5*mae"),
        ("Wang 2024, Table 2", "CIFAR-100", "CE_eps+MAE", "asymmetric", 0.3,
         "0.005*eps_softmax(ce,m=100)+mae"),
        ("Wang 2024, Table 2", "CIFAR-10", "FL_eps+MAE", "asymmetric", 0.3,
         "0.02*eps_softmax(fl(gamma=0.1,detach=1),m=1e3)+5*mae"),
        ("Wang 2024, Table 8", "CIFAR-10", "CE_eps+MAE", "instance-dependent", 0.4,
         "0.045*eps_softmax(ce,m=1e5)+10*mae"),
        ("Wang 2024, Table 4", "CIFAR-10N", "CE_eps+MAE", "worst", None, None),
        ("Wang 2025", "CIFAR-10", "JAL-CE", "symmetric", 0.8, "nce+amse(a=30)"),
        ("Wang 2025", "CIFAR-10", "ANL-CE", "symmetric", 0.8, "5*nce+5*nnce"),
        ("Wang 2025", "CIFAR-10", "AMSE", "symmetric", 0.8, None),
        ("Curriculum, Table 4", "CIFAR-10", "MAE", "clean", 0.0, None),
        ("Zhang 2018", "CIFAR-10", "GCE(q=0.7)", "symmetric", 0.2, "gce"),
        ("Menon 2020, reproduced 2021", "MNIST", "PHuber-CE tau=10", "clean", 0.0, "phuber_ce(tau=10)"),
    ],
)  # fmt: skip
def test_the_constants_of_a_source(source, dataset, method, noise, rate, expression):
    (row,) = published(source=source, dataset=dataset, method=method, noise_type=noise, rate=rate)
    found = published_method(row).expression
    if expression is None:
        assert found is None
    else:
        assert read_loss(found).expression == read_loss(expression).expression


def test_an_unknown_method_is_an_error_and_an_unreadable_loss_none():
    row = published()[0]
    odd = Published(**{**{f: getattr(row, f) for f in Published.__dataclass_fields__}, "method": "XYZ"})
    with pytest.raises(InputError, match="unknown method 'XYZ'"):
        published_method(odd)
    assert shape_of("mine_alone+ce") is None
    assert len(SHAPES) == 33


# Data and noise ---------------------------------------------------------------------------------


def test_data_are_recognized_by_their_classes():
    cell = ("ce", "none", [0.9])
    assert dataset_of(results(cell, data="some/copy", class_names=CIFAR10[::-1])) == "CIFAR-10"
    assert dataset_of(results(cell, data="x", class_names=tuple(map(str.upper, CIFAR10)))) == "CIFAR-10"
    assert dataset_of(results(cell, data="x", class_names=CIFAR10[:9])) is None
    assert dataset_of(results(cell, data="x", class_names=MAPS["cifar100"].class_names)) == "CIFAR-100"
    numbers = tuple("0123456789")
    assert dataset_of(results(cell, data="mnist", class_names=numbers)) == "MNIST"
    assert dataset_of(results(cell, data="digits", class_names=numbers)) is None


@pytest.mark.parametrize(
    ("dataset", "noise", "expected"),
    [
        ("CIFAR-10", "none", ("CIFAR-10", "clean", 0.0, "")),
        ("CIFAR-10", "symmetric:0", ("CIFAR-10", "clean", 0.0, "")),
        ("CIFAR-10", "symmetric:0.4", ("CIFAR-10", "symmetric", 0.4, "plain")),
        ("CIFAR-10", "symmetric:0.4@uniform", ("CIFAR-10", "symmetric", 0.4, "uniform")),
        ("CIFAR-10", "asymmetric:0.3", ("CIFAR-10", "asymmetric", 0.3, "cifar10")),
        ("CIFAR-10", "asymmetric:0.3@sequential", ("CIFAR-10", "asymmetric", 0.3, "cifar10,sequential")),
        ("CIFAR-100", "asymmetric:0.3@cifar100-blocks", ("CIFAR-100", "asymmetric", 0.3, "cifar100-blocks")),
        ("CIFAR-100", "asymmetric:0.3", ("CIFAR-100", "asymmetric", 0.3, "cifar100")),
        ("CIFAR-10", "instance:0.2", ("CIFAR-10", "instance-dependent", 0.2, "plain")),
        ("CIFAR-10", "human:CIFAR-10_human.pt@worse", ("CIFAR-10N", "worst", None, "")),
        ("CIFAR-10", "human:CIFAR-10_human.pt@random2", ("CIFAR-10N", "rand2", None, "")),
        ("CIFAR-100", "human:CIFAR-100_human.pt@fine", ("CIFAR-100N", "noisy100", None, "")),
        ("CIFAR-10", "human:x.pt@fine", None),
        ("CIFAR-10", "asymmetric:0.3@3to5,5to3", None),
        ("CIFAR-10", "pairflip:0.3", None),
        ("CIFAR-10", "longtail:0.1 | symmetric:0.4", None),
        ("Clothing1M", "none", ("Clothing1M", "real-world", None, "")),
        ("Clothing1M", "symmetric:0.4", None),
    ],
)
def test_noise_in_the_literatures_words(dataset, noise, expected):
    assert noise_setting(dataset, noise) == (None if expected is None else NoiseSetting(*expected))


def test_the_conventions_of_sources_have_words():
    rows = published()
    for row in rows:
        for name in ("symmetric", "asymmetric", "asymmetric_cifar100"):
            assert getattr(row.source, name) in ("", *CONVENTIONS)


# Comparisons -----------------------------------------------------------------------------------

CE = ("ce", "symmetric:0.4", [0.51, 0.52, 0.53])


def test_a_cell_and_the_paper_by_hand():
    """CE at 0.4: the paper has 59.54; t of 2 degrees of freedom is 4.3027, sqrt(1/3 + 1) is 1.1547."""
    (pair,) = compare_published(results(CE, precision="float16"), "paper")
    assert (pair.ours.mean, pair.ours.deviation, pair.ours.n) == pytest.approx((52.0, 1.0, 3))
    assert pair.published.mean == 59.54
    assert pair.contrast.difference == pytest.approx(-7.54)
    assert (pair.contrast.low, pair.contrast.high) == pytest.approx((-12.508, -2.572), abs=1e-3)
    assert pair.contrast.verdict == "lower"
    assert pair.differs == {}
    assert pair.unstated == ("clip", "augmentation")


def test_a_cell_and_the_literature_by_hand():
    """Wang 2024 have 58.46 ± 0.21 of 3 runs: standard error sqrt(1/3 + 0.0147), 2.176 degrees of freedom."""
    pairs = {pair.published.source.key: pair for pair in compare_published(results(CE), "literature")}
    assert set(pairs) == {"Wang 2024, Table 2", "Wang 2025", "Curriculum, Table 4"}
    wang = pairs["Wang 2024, Table 2"]
    assert wang.contrast.difference == pytest.approx(-6.46)
    # t of 2.176 degrees of freedom at 0.975: 3.985, times 0.58994
    assert (wang.contrast.low, wang.contrast.high) == pytest.approx((-8.811, -4.109), abs=2e-3)
    assert wang.differs == {
        "noise": "noise: ours independent flips, theirs an exact share of each class",
        "clip": "clip: ours 0, theirs 5",
    }
    assert wang.unstated == ("precision",)
    # a mean of three runs without a deviation: ours 52 ± 1 scatter alike, sqrt(1/3 + 1/3) is 0.8165
    curriculum = pairs["Curriculum, Table 4"]
    assert curriculum.published.runs == 3
    half = (curriculum.contrast.high - curriculum.contrast.low) / 2
    assert half == pytest.approx(4.30265 * 0.816497, abs=1e-4)
    assert pairs["Wang 2025"].published.secondary


def test_exact_noise_and_clipping_as_theirs_leave_no_difference():
    found = compare_published(results(("ce", "symmetric:0.4@exact", [0.5, 0.6]), clip=5.0), "literature")
    wang = next(pair for pair in found if pair.published.source.key == "Wang 2024, Table 2")
    assert wang.differs == {}
    assert wang.contrast.verdict == "not significant"


def test_one_run_each_has_no_spread():
    (pair,) = compare_published(results(("ce", "none", [0.9])), "paper")
    assert pair.contrast.verdict == "no interval"
    assert pair.contrast.difference == pytest.approx(-1.8)


def test_what_differs_is_named():
    found = results(
        ("nce+rce@ma2020", "asymmetric:0.4@sequential", [0.8, 0.81]),
        data="data/cifar10-jpeg",
        model="auto",
        epochs=30,
        lr=0.05,
        weight_decay=0.0,
        l1=5e-5,
        width=0.5,
        augment="flip",
        ema=0.99,
        train_share=0.1,
    )
    (pair,) = compare_published(found, "paper")
    assert list(pair.differs.values()) == [
        "data: ours cifar10-jpeg, theirs cifar10",
        "loss: ours nce+rce(A=ln(1e-4)), theirs nce+rce",
        "noise: ours exact shares, pair by pair, theirs independent flips",
        "model: ours width 0.5, theirs none",
        "epochs: ours 30, theirs 120",
        "lr: ours 0.05, theirs 0.01",
        "weight decay: ours 0, theirs 0.0001",
        "other settings: ours L1 5e-5, no weight decay, averaged weights (0.99), 0.1 of the training set, "
        "theirs none",
    ]


def test_constants_that_are_not_known_are_named_in_the_row():
    pairs = compare_published(results(("gce", "none", [0.9])), "literature")
    words = {pair.published.source.key: pair.differs.get("loss") for pair in pairs}
    assert words == {
        "Wang 2024, Table 2": None,
        "Curriculum, Table 4": "loss: ours gce, theirs with unknown constants",
        "Curriculum, Table 2": "loss: ours gce, theirs with unknown constants",
    }


def test_what_a_preset_adds_is_no_difference_if_ours_has_it():
    ours = ("anl_ce@cifar10", "symmetric:0.8", [0.6, 0.61])
    for settings, expected in (
        ({"l1": 5e-5, "weight_decay": 0.0}, set()),
        ({}, {"other settings: ours none, theirs L1 5e-5, no weight decay"}),
    ):
        pairs = compare_published(results(ours, **settings), "literature")
        assert {pair.published.source.key for pair in pairs} == {"Wang 2025", "Ye 2023"}
        for pair in pairs:
            assert {word for name, word in pair.differs.items() if name == "other settings"} == expected


def test_a_loss_of_other_terms_is_compared_with_nothing():
    assert compare_published(results(("nce+gce", "none", [0.9]))) == []
    assert compare_published(results(("poly1", "none", [0.9]))) == []


def test_rows_of_other_models_only_for_that_model():
    cell = ("ce", "human:CIFAR-10_human.pt@worse", [0.6, 0.61])
    assert {pair.published.source.key for pair in compare_published(results(cell))} == {"Curriculum, Table 4"}
    found = compare_published(results(cell, model="resnet34"))
    assert {pair.published.model for pair in found} == {"ResNet-34"}
    assert {pair.published.source.key: pair.published.mean for pair in found}["Wang 2024, Table 4"] == 77.69
    wang = next(pair for pair in found if pair.published.source.key == "Wang 2024, Table 4")
    assert wang.differs["epoch"] == "metric: ours last epoch, theirs best epoch"


# Tables -----------------------------------------------------------------------------------------

GRID = [
    (loss, noise, [value, value + 0.01, value + 0.02])
    for loss, value in (("nce+mae", 0.85), ("gce", 0.8), ("ce", 0.5))
    for noise in ("none", "symmetric:0.4", "asymmetric:0.4", "symmetric:0.5")
]


def test_the_tables_of_the_paper():
    symmetric, asymmetric = paper_tables(results(*GRID, data="cifar10-jpeg"))
    assert symmetric.name == "comparison-paper-symmetric"
    assert [row[:2] for row in symmetric.rows] == [
        ("ce", "clean"),
        ("ce", "symmetric:0.4"),
        ("nce+mae", "clean"),
        ("nce+mae", "symmetric:0.4"),
    ]
    assert [row[:2] for row in asymmetric.rows] == [("ce", "asymmetric:0.4"), ("nce+mae", "asymmetric:0.4")]
    assert (
        "Settings that differ in every row: data: ours cifar10-jpeg, theirs cifar10; precision: ours float32"
        in symmetric.note
    )
    assert "Not reported by the paper: clip, augmentation." in symmetric.note
    assert "ce under symmetric:0.5" in symmetric.note.partition("Not in the paper: ")[2]
    assert "gce under clean" in symmetric.note
    row = next(row for row in asymmetric.rows if row[0] == "nce+mae")
    assert [str(cell) for cell in row[2:5]] == ["86.00 ± 1.00", "80.10", "+5.90"]
    assert row[6] == "higher"
    for write in (markdown, latex, comma_separated, hypertext):
        assert "not significant" in write(symmetric)
    assert re.search(r"nce\+mae,asymmetric:0.4,86\.0\d*,", comma_separated(asymmetric))


def test_the_table_of_the_literature_lists_its_sources():
    table = literature_table(results(*GRID, data="cifar10-jpeg"))
    keys = {row[3].removesuffix(" (quoted)") for row in table.rows}
    assert keys == {"Wang 2024, Table 2", "Curriculum, Table 4", "Curriculum, Table 2", "Wang 2025"}
    sources = table.note.partition("Sources: ")[2]
    for key in keys:
        assert f"{key}: " in sources
    assert "Wang et al., NeurIPS 2024" in sources
    assert {row[3] for row in table.rows if "Wang 2025" in row[3]} == {"Wang 2025 (quoted)"}
    assert "Wang 2024, Table 2: clip: ours 0, theirs 5." in table.note
    assert len(table.rows) == len(compare_published(results(*GRID), "literature"))


def test_where_nothing_is_published_one_sentence_says_so():
    tables, sentence = comparison_tables(
        results(("ce", "none", [0.9]), data="digits", class_names=tuple("0123456789"))
    )
    assert tables == []
    assert sentence.startswith(
        "No published results to compare with: the data set digits is none of CIFAR-10,"
    )
    assert "none uses the model mlp." in explain_no_comparison(results(("ce", "none", [0.9]), model="mlp"))
    assert "none on CIFAR-10 uses the model cnn8 with these" in explain_no_comparison(
        results(("poly1", "none", [0.9]))
    )
    tables, sentence = comparison_tables(results(CE))
    assert (len(tables), sentence) == (2, "")


def test_the_paper_and_the_literature():
    pairs = compare_paper_with_literature()
    assert {pair.published.collection for pair in pairs} == {"literature"}
    assert len(pairs) == len(paper_literature_table().rows) == 5 * 9 + (5 + 5) + 4 + (4 + 4 + 4) + 1
    by_hand = {
        # the paper's less theirs
        ("nce+mae", "symmetric 0.4", "Wang 2024, Table 2"): 85.53 - 83.60,
        ("nfl+rce", "asymmetric 0.4", "Wang 2024, Table 2"): 50.33 - 79.05,
        ("mae", "clean", "Curriculum, Table 4"): 71.81 - 90.56,
        ("nce+rce", "symmetric 0.2", "Ma 2020, Table 2"): 84.63 - 89.22,
    }
    found = {(pair.loss, pair.noise, pair.published.source.key): pair for pair in pairs}
    for key, difference in by_hand.items():
        assert found[key].contrast.difference == pytest.approx(difference)
    # 83.60 ± 0.14 of 3: one more run lies within 4.3027 * 0.14 * 1.1547 = 0.696
    apart = found["nce+mae", "symmetric 0.4", "Wang 2024, Table 2"].contrast
    assert apart.high - apart.low == pytest.approx(2 * 0.6956, abs=1e-3)
    assert apart.verdict == "higher"
    assert found["nce+rce", "symmetric 0.2", "Ma 2020, Table 2"].contrast.verdict == "no interval"
    loss = found["nfl+rce", "asymmetric 0.4", "Wang 2024, Table 2"].differs["loss"]
    assert loss == "loss: the paper nfl+rce, theirs nfl(detach=1)+rce(A=ln(1e-4))"
