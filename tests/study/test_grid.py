"""Grids: cells by hand, what the shipped studies are, and what is said of a file that is wrong."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.experiment import RunConfig, load_config, run_id
from noisylabels.losses import PAPER
from noisylabels.study.grid import Study, from_table, load_study, read_flags, read_only, studies

TWO = {
    "title": "two",
    "recipe": "digits",
    "fixed": {"epochs": 5},
    "axes": {"loss": ["ce", "mae"], "noise": ["symmetric:0.2", "asymmetric:0.3"], "seed": [1, 2]},
}


def names(study: Study, **given) -> list[tuple]:
    return [tuple(cell.axes.values()) for cell in study.cells(**given)]


def test_cells_are_the_product_of_the_axes_over_recipe_and_fixed_settings():
    cells = from_table(TWO, "two").cells({"device": "cpu"})
    assert [tuple(c.axes.values()) for c in cells] == list(itertools.product(*TWO["axes"].values()))
    first = load_config("digits", epochs=5, loss="ce", noise="symmetric:0.2", seed=1, device="cpu")
    assert cells[0].config == first
    assert cells[0].run_id == run_id(first)
    assert cells[0].name == f"ce-symmetric_0.2-seed1-{cells[0].run_id}"
    assert len({cell.name for cell in cells}) == 8


def test_exclusions_and_overrides():
    table = TWO | {
        "exclude": [{"loss": "ce", "noise": "sym*"}, {"seed": 2, "loss": ["mae", "m*"]}],
        "override": [
            {"when": {"noise": "asymmetric:*"}, "set": {"precision": "bfloat16", "lr": 0.5}},
            {"when": {"loss": "mae"}, "set": {"lr": 1}},
        ],
    }
    study = from_table(table, "two")
    assert names(study) == [
        ("ce", "asymmetric:0.3", 1),
        ("ce", "asymmetric:0.3", 2),
        ("mae", "symmetric:0.2", 1),
        ("mae", "asymmetric:0.3", 1),
    ]
    settings = [(cell.config.precision, cell.config.lr) for cell in study.cells()]
    assert settings == [("bfloat16", 0.5), ("bfloat16", 0.5), ("float32", 1.0), ("bfloat16", 1.0)]
    # a flag goes over both
    assert {cell.config.lr for cell in study.cells({"lr": 0.25})} == {0.25}


def test_only_chooses_among_the_cells():
    study = from_table(TWO, "two")
    assert len(names(study, only={"seed": [2]})) == 4
    assert names(study, only=read_only(["loss=ce", "noise=*:0.3", "seed=1"])) == [("ce", "asymmetric:0.3", 1)]
    for strange in ({"loss": "cee"}, read_only(["loss=ce,cee"])):  # none is dropped without a word
        with pytest.raises(InputError, match="no loss of the study two is 'cee'; did you mean 'ce'"):
            study.cells(only=strange)
    without = from_table(TWO | {"exclude": [{"loss": "ce"}]}, "two")
    with pytest.raises(InputError, match="no cell of the study two is left"):
        without.cells(only={"loss": "ce"})
    with pytest.raises(InputError, match="'los' is not an axis of the study two; did you mean 'loss'"):
        study.cells(only={"los": "ce"})


def test_the_star_of_a_value_is_no_pattern():
    """A loss has weights: 2*mae is not every loss that begins with 2 and ends in mae."""
    losses = ["nce+2*mae", "nce+2.5*mae", "nce+20*mae", "sce(alpha=0.1,beta=1)"]
    table = {"axes": {"loss": losses}, "exclude": [{"loss": "nce+2*mae"}]}
    assert names(from_table(table, "s")) == [("nce+2.5*mae",), ("nce+20*mae",), ("sce(alpha=0.1,beta=1)",)]
    table = {"axes": {"loss": losses}}
    only = read_only(["loss=nce+2*mae,sce(alpha=0.1,beta=1)"])
    assert names(from_table(table, "s"), only=only) == [("nce+2*mae",), ("sce(alpha=0.1,beta=1)",)]
    assert len(names(from_table(table, "s"), only=read_only(["loss=nce+2*"]))) == 3


def test_names_of_cells_fit_into_a_file_system():
    axes = {name: [0.123456789012345] for name in ("lr", "momentum", "weight_decay", "l1", "clip", "ema")}
    axes |= {"noise": ["symmetric:0.12345678901 | symmetric:0.12345678901"], "seed": [10**40, 10**40 + 1]}
    axes |= {"validation": [0.123456789012345], "loss": ["0.123456789*nce+0.123456789*mae+0.12345678*rce"]}
    cells = from_table({"axes": axes}, "s").cells()
    assert len({cell.name for cell in cells}) == 2
    assert max(len(cell.name) for cell in cells) == 253


def test_the_shipped_studies():
    assert list(studies()) == ["digits", "frozen", "human", "ma2020", "paper", "tenth"]
    paper = load_study("paper").cells()
    assert len(paper) == 12 * 9 * 3
    assert {cell.axes["loss"] for cell in paper} == set(PAPER)
    assert len({cell.config.epochs for cell in paper} | {120}) == 1
    mixed = {(c.axes["noise"], c.axes["loss"]) for c in paper if c.config.precision == "float16"}
    whole = {(c.axes["noise"], c.axes["loss"]) for c in paper if c.config.precision == "float32"}
    assert not mixed & whole
    assert len(whole) == 4 * 12 + 1  # section 4.1: asymmetric noise, and NCE+RCE at symmetric 0.8
    assert ("symmetric:0.8", "nce+rce") in whole
    digits = load_study("digits").cells()
    assert len(digits) == 12 * 4 * 2
    assert {c.config.model for c in digits} == {"small-cnn"}
    ma = load_study("ma2020").cells()
    assert {c.config.clip for c in ma} == {5.0}
    human = load_study("human").cells(labels="h.pt")
    assert len(human) == 5 * 7 * 3
    assert human[0].config.noise == "human:h.pt@aggre"
    with pytest.raises(InputError, match="the study human needs a label file; give --labels FILE"):
        load_study("human").cells()
    for noise in ("human:h.pt@worse", "human:{labels}@worse", ["*:h.pt@worse"]):
        chosen = load_study("human").cells(only={"noise": noise}, labels="h.pt")
        assert {cell.config.noise for cell in chosen} == {"human:h.pt@worse"}


def test_the_studies_of_a_document():
    def mine(name):
        folder = Path(__file__).parents[2] / "benchmarks" / "studies"
        return load_study(str(folder / f"{name}.toml")).cells(labels="h.pt")

    tenth = load_study("tenth").cells()
    assert len(tenth) == 12 * 4 * 4
    parts = [tenth, mine("forms-tenth")]
    cells = list(itertools.chain(*parts))
    settings = {str(to_dict(cell.config, ("loss", "noise", "seed"))) for cell in cells}
    assert len(settings) == 1  # they belong into one table
    assert len({cell.run_id for cell in cells}) == len(cells)
    digits, more = load_study("digits").cells(), mine("digits-more")
    assert {cell.config.seed for cell in digits + more} == set(range(1, 9))
    (_,) = {str(to_dict(cell.config, ("loss", "noise", "seed"))) for cell in digits + more}
    assert len(mine("knob")) == 16 * 3 * 5
    apart = ("loss", "noise", "seed", "epochs")
    longer = mine("longer-tenth")
    assert {cell.config.epochs for cell in longer} == {5 * tenth[0].config.epochs}
    assert {str(to_dict(cell.config, apart)) for cell in longer} == {str(to_dict(tenth[0].config, apart))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axis": {}}, "unknown key 'axis' of the study two; did you mean 'axes'"),
        ({"axes": {}}, "has no axes"),
        ({"axes": {"los": ["ce"]}}, "unknown axis 'los' of the study two; did you mean 'loss'"),
        ({"axes": {"loss": "ce"}}, "the axis 'loss' of the study two is 'ce', expected a list"),
        ({"axes": {"loss": []}}, "expected a list"),
        ({"axes": {"loss": ["ce", "ce"]}}, "has a duplicate value"),
        ({"axes": {"device": ["cpu"]}}, "device cannot be an axis: it depends on the machine"),
        ({"fixed": {"out": "x"}}, "out depends on the machine"),
        ({"fixed": {"epoch": 3}}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"fixed": {"epochs": "many"}}, "'epochs' is 'many'"),
        ({"exclude": [{"los": "ce"}]}, "names 'los', which is not an axis; did you mean 'loss'"),
        ({"exclude": {"loss": "ce"}}, "exclude of the study two is not a list of tables"),
        ({"exclude": ["ce"]}, "exclude of the study two is not a list of tables; write [[exclude]]"),
        ({"override": [{"when": "ce", "set": {"lr": 1}}]}, "expected when ="),
        ({"override": [{"when": {"loss": "ce"}, "set": [1]}]}, "expected when ="),
        ({"override": [{"when": {}, "set": {"seed": 3}}]}, "sets 'seed', which is an axis"),
        ({"title": ["two"]}, "title of the study two is ['two'], expected a text"),
        ({"recipe": 5}, "recipe of the study two is 5, expected a text"),
        ({"override": [{"when": {"loss": "ce"}}]}, "expected when ="),
        ({"override": [{"when": {"loss": "ce"}, "set": {"lrr": 1}}]}, "unknown setting 'lrr'"),
        ({"axes": {"loss": ["ce", "1*ce"]}}, "are the same run; leave one out"),
        ({"axes": {"loss": ["ce", "nec"]}}, "'nec'"),
        ({"axes": {"seed": list(range(100_001))}}, "has 100,001 cells, expected at most 100,000"),
        ({"recipe": "digit"}, "there is no recipe 'digit'"),
    ],
)
def test_a_study_that_is_wrong(change: dict, message: str):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        from_table(TWO | change, "two").cells()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["exclude", "override"])
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ({"loss": "mea"}, "no loss of the study two is 'mea', the pattern of an [[{}]]; did you mean 'mae'?"),
        (
            {"loss": ["ce", "mea"]},
            "no loss of the study two is 'mea', the pattern of an [[{}]]; did you mean",
        ),
        ({"noise": "sym*", "loss": "n*"}, "is 'n*', the pattern of an [[{}]]; known: ce, mae"),
        ({"seed": 3}, "no seed of the study two is '3', the pattern of an [[{}]]; known: 1, 2"),
        ({"loss": []}, "no loss of the study two is '[]', the pattern of an [[{}]]; known: ce, mae"),
    ],
)
def test_a_pattern_that_no_value_matches(key: str, pattern: dict, message: str):
    of = [pattern if key == "exclude" else {"when": pattern, "set": {"lr": 1}}]
    with pytest.raises(InputError, match=re.escape(message.format(key))) as error:
        from_table(TWO | {key: of}, "two")
    assert "\n" not in str(error.value)


def test_patterns_may_match_cells_that_only_leaves_out():
    more = {"exclude": [{"seed": "2"}], "override": [{"when": {"loss": "m*"}, "set": {"lr": 1}}]}
    study = from_table(TWO | more, "two")
    assert names(study, only={"loss": "ce", "noise": "sym*"}) == [("ce", "symmetric:0.2", 1)]


def test_the_studies_in_the_repository_load():
    folder = Path(__file__).parents[2] / "benchmarks" / "studies"
    loaded = [load_study(str(path)) for path in folder.glob("*.toml")] + [
        load_study(name) for name in studies()
    ]
    assert len(loaded) > 30
    assert any(study.exclude for study in loaded)
    assert any(study.override for study in loaded)


def test_a_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('[axes]\nloss = ["ce"]\nseed = [1, 2]\n')
    assert load_study(str(path)).name == "mine"
    assert len(load_study(str(path)).cells()) == 2
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Windows saves it
    assert len(load_study(str(path)).cells()) == 2
    path.write_text("[axes\n")
    with pytest.raises(InputError, match="not valid TOML"):
        load_study(str(path))
    with pytest.raises(InputError, match=r"there is no study 'papr'.*; did you mean 'paper'"):
        load_study("papr")


def test_flags_have_the_types_of_their_settings():
    found = read_flags(["epochs=5", "lr=1", "channels-last=false", "loss=nce+mae", "image_size=8"])
    assert found == {"epochs": 5, "lr": 1.0, "channels_last": False, "loss": "nce+mae", "image_size": 8}
    assert all(type(found[name]) is type(getattr(RunConfig(image_size=1), name)) for name in found)
    for word, message in (
        ("epochs", "expected NAME=VALUE"),
        ("epoch=5", "did you mean 'epochs'"),
        ("epochs=x", "gives epochs the value 'x', expected int"),
        ("channels_last=maybe", "expected bool"),
    ):
        with pytest.raises(InputError, match=message):
            read_flags([word])
    with pytest.raises(InputError, match="names no values"):
        read_only(["loss"])
