"""Names become objects once: ids of runs, how often a run parses, and what a resolved run holds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, fingerprint
from noisylabels.core.files import file_digest
from noisylabels.experiment import RunConfig, load_config, resolve, run, run_id
from noisylabels.experiment.config import FIRST_SETTINGS, NOT_IDENTITY, canonical_id
from noisylabels.experiment.resolve import code_digests
from noisylabels.study.store import read_rows

RESULTS = Path(__file__).parents[1] / "results"
FAST = {"model": "small-cnn", "width": 0.25, "epochs": 1, "device": "cpu"}


# --- ids ----------------------------------------------------------------------------------------


def test_every_id_in_results_is_that_of_its_row():
    seen = Counter()
    for file in sorted(RESULTS.rglob("runs.parquet")):
        for row in read_rows(file):
            config = build(RunConfig, row["config"])
            assert ":/" not in config.noise, f"{file} names a path of the machine"
            assert canonical_id(config) == run_id(config) == row["run_id"], file
            seen[file.parent.name] += 1
    assert seen == {
        "digits-8": 384,
        "digits-more": 288,
        "digits-study": 96,
        "forms-tenth": 24,
        "frozen": 192,
        "frozen-default": 36,
        "hybrids-digits": 630,
        "hybrids-digits-cnn": 42,
        "hybrids-features": 630,
        "knob": 240,
        "longer-tenth": 10,
        "methods-checks": 50,
        "methods-digits": 220,
        "methods-fashion": 220,
        "methods-features": 275,
        "paper": 11,
        "semi-digits": 153,
        "semi-digits-seconds": 108,
        "semi-fashion": 108,
        "semi-features": 180,
        "semi-features-default": 12,
        "semi-features-seconds": 96,
        "semi-hybrids-digits": 108,
        "semi-photographs": 18,
        "tenth": 192,
        "weights-digits": 520,
        "weights-fashion": 150,
        "weights-frozen": 198,
        "weights-frozen-all": 60,
        "weights-hundred": 135,
    }


def test_a_new_setting_at_its_default_leaves_ids_as_they_are():
    @dataclass(frozen=True)
    class Newer(RunConfig):
        strategy: str = "standard"
        share: float | None = None

    old = RunConfig(loss="nce+mae", validation=0.1)
    settings = {field.name: getattr(old, field.name) for field in dataclasses.fields(old)}
    assert canonical_id(Newer(**settings)) == canonical_id(old)
    others = {canonical_id(Newer(**settings, **new)) for new in ({"strategy": "elr"}, {"share": 0.0})}
    assert len(others | {canonical_id(old)}) == 3


def test_a_setting_of_the_first_ids_enters_at_its_default_too():
    names = {field.name for field in dataclasses.fields(RunConfig)}
    assert len(FIRST_SETTINGS) == 22
    assert names > FIRST_SETTINGS
    assert not FIRST_SETTINGS & set(NOT_IDENTITY)
    assert canonical_id(RunConfig()) == fingerprint(RunConfig(), names - FIRST_SETTINGS)


# --- once ---------------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """What the parsers of losses and noise are given, in order."""
    from noisylabels.losses import expression
    from noisylabels.noise import spec

    given: list[str] = []

    def counted(module, name):
        function = getattr(module, name)

        def counting(text, *more):
            given.append(text)
            return function(text, *more)

        monkeypatch.setattr(module, name, counting)

    counted(expression, "read_terms")
    counted(spec, "parse_stage")
    return given


def test_a_run_parses_its_loss_and_its_noise_once(tmp_path, parsed):
    settings = FAST | {"loss": "MAE + 2*nce", "noise": "longtail:0.5 | symmetric:0.40"}
    config = load_config(None, **settings, out=str(tmp_path / "run"))
    assert run(config).status == "done"
    assert parsed == ["MAE + 2*nce", "longtail:0.5 ", " symmetric:0.40"]
    parsed.clear()
    assert run(config).status == "done"  # which only reads the result
    assert parsed == ["MAE + 2*nce", "longtail:0.5 ", " symmetric:0.40"]


def test_a_loss_that_is_chosen_is_parsed_once_it_is_known(tmp_path, parsed):
    result = run(load_config(None, **FAST, out=str(tmp_path / "run")))
    assert result.loss == "4*gce"
    assert parsed == ["none", result.loss]


# --- what a resolved run holds ------------------------------------------------------------------


def test_a_resolved_run_holds_objects_and_the_canonical_configuration():
    config = RunConfig(data="./photos/", loss="MAE + NCE", noise="symmetric:0.40", augment="flip")
    resolved = resolve(config)
    assert resolved.loss is not None
    assert resolved.config == dataclasses.replace(
        config, data="photos", loss=resolved.loss.expression, noise=str(resolved.noise)
    )
    assert (resolved.config.loss, resolved.config.noise) == ("nce+mae", "symmetric:0.4")
    assert resolved.run_id == run_id(config)
    assert resolve(resolved.config).config == resolved.config
    assert resolve(RunConfig(loss=" Auto ")).loss is None
    assert resolve(RunConfig(device="cpu")).device == torch.device("cpu")


def test_files_are_held_by_their_digests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def f(l):\n    return -l\ndef net():\n    return None\n")
    Path("labels.csv").write_text("id,label\n")
    Path("noise.csv").write_text("label\n")
    config = RunConfig(loss="own.py:f", model="./own.py:net", noise="labels:./noise.csv", labels="labels.csv")
    resolved = resolve(config)
    assert resolved.files == {
        "noise files": {"noise.csv": file_digest(Path("noise.csv"))},
        "label files": {"labels.csv": file_digest(Path("labels.csv"))},
        "encoder files": {},
        "method files": {},
        "code files": {"own.py": file_digest(Path("own.py"))},
    }
    assert code_digests(resolved.config) == resolved.code_files
    resolved.check()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"noise": "labels:gone.csv"}, "there is no file gone.csv"),
        ({"labels": "gone.csv"}, "there is no file gone.csv"),
        ({"model": "gone.py:net"}, "there is no file gone.py"),
    ],
)
def test_what_is_missing_is_an_error_of_the_check_only(setting, message):
    """A finished run is read without it."""
    resolved = resolve(RunConfig(**setting))
    assert resolved.run_id in resolved.out.name
    with pytest.raises(InputError, match=message):
        resolved.check()
