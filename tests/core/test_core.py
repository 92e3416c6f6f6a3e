"""Floor 0: checks, registry, configuration, files, random streams."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from noisylabels.core.checks import InputError, check_between, check_choice, did_you_mean, one_line
from noisylabels.core.config import build, fingerprint, read_toml, to_dict
from noisylabels.core.files import atomic_replace, cache_root, file_digest, read_json, write_json, write_text
from noisylabels.core.registry import Registry
from noisylabels.core.rng import derive_seed, generator, normals, uniforms

# Checks


def test_did_you_mean():
    assert did_you_mean("NEC", ["nce", "mae"]) == "; did you mean 'nce'?"
    assert did_you_mean("zzz", ["nce", "mae"]) == "; known: nce, mae"
    assert did_you_mean("zzz", []) == ""


def test_an_error_in_one_line():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(AssertionError()) == "AssertionError"
    assert len(one_line(ValueError("x" * 10_000))) < 330


def test_check_choice():
    assert check_choice("a", iter(["a", "b"]), "letter") == "a"
    with pytest.raises(InputError, match="unknown letter 'q'; known: a, b"):
        check_choice("q", iter(["a", "b"]), "letter")
    with pytest.raises(InputError, match="unknown letter 3"):
        check_choice(3, ["a", "b"], "letter")


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.5, np.float64(0.5)])
def test_numbers_within(value):
    assert check_between(value, "rate", 0.0, 1.0) == value


@pytest.mark.parametrize("value", [-1e-9, 1.1, math.nan, math.inf, -math.inf, True, "0.5", None])
def test_numbers_outside(value):
    with pytest.raises(InputError, match=r"rate is .*, expected a number in \[0, 1\]"):
        check_between(value, "rate", 0.0, 1.0)


def test_open_ends():
    assert check_between(1, "x", 0.0, 1.0, open_low=True) == 1
    with pytest.raises(InputError, match=r"x is 0, expected a number in \(0, 1\]"):
        check_between(0, "x", 0.0, 1.0, open_low=True)
    with pytest.raises(InputError, match=r"x is 1, expected a number in \[0, 1\)"):
        check_between(1, "x", 0.0, 1.0, open_high=True)
    with pytest.raises(InputError, match=r"in \(-inf, inf\)"):
        check_between(math.nan, "x")


# Registry


def test_registry():
    rows = Registry("color", {"red": 1})
    assert rows.add("green", 2) == 2
    assert list(rows) == ["red", "green"]
    assert len(rows) == 2
    assert "red" in rows
    assert "blue" not in rows
    assert 3 not in rows
    assert dict(rows) == {"red": 1, "green": 2}
    assert rows.get("blue") is None
    assert rows.get("blue", 7) == 7
    assert rows.get("red", 7) == 1
    with pytest.raises(InputError, match="the color 'red' exists already"):
        rows.add("red", 3)
    with pytest.raises(InputError, match="unknown color 'gren'; did you mean 'green'"):
        rows["gren"]
    with pytest.raises(InputError, match="unknown color 'blue'"):
        rows.remove("blue")
    rows.remove("red")
    assert list(rows) == ["green"]


# Configuration


@dataclass(frozen=True)
class Settings:
    epochs: int = 10
    lr: float = 0.1
    amp: bool = False
    name: str = "x"
    out: str | None = None


def test_layers_go_over_defaults_in_order():
    made = build(Settings, {"epochs": 3, "lr": 1}, {"epochs": 4, "out": "there"})
    assert made == Settings(epochs=4, lr=1.0, out="there")
    assert type(made.lr) is float
    assert build(Settings, {"out": "x"}, {"out": None}).out is None
    assert build(Settings) == Settings()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"zzz": 3}, "unknown setting 'zzz'; known: epochs, lr, amp, name, out"),
        ({"epochs": 3.0}, "the setting 'epochs' is 3.0 (float), expected int"),
        ({"epochs": True}, "the setting 'epochs' is True (bool), expected int"),
        ({"epochs": "3"}, "the setting 'epochs' is '3' (str), expected int"),
        ({"amp": 1}, "the setting 'amp' is 1 (int), expected bool"),
        ({"lr": True}, "the setting 'lr' is True (bool), expected float"),
        ({"lr": math.nan}, "the setting 'lr' is nan, expected a finite number"),
        ({"lr": math.inf}, "the setting 'lr' is inf, expected a finite number"),
        ({"name": None}, "the setting 'name' is None (NoneType), expected str"),
        ({"out": 3}, "the setting 'out' is 3 (int), expected str or nothing"),
        ({"name": ["x"]}, "the setting 'name' is ['x'] (list), expected str"),
    ],
    ids=repr,
)
def test_wrong_settings(layer, words):
    with pytest.raises(InputError) as caught:
        build(Settings, layer)
    assert str(caught.value) == words
    with pytest.raises(InputError, match=r"key of mine\.toml"):
        build(Settings, layer, origin="key of mine.toml")


def test_fingerprint_is_stable():
    """A change here changes the ids of all existing runs."""
    text = b'{"amp": false, "epochs": 10, "lr": 0.1, "name": "x", "out": null}'
    assert fingerprint(Settings()) == hashlib.sha256(text).hexdigest()[:12] == "7c970d6c617e"
    assert fingerprint(build(Settings, {"lr": 1})) == fingerprint(Settings(lr=1.0))
    assert fingerprint(Settings(out="a")) != fingerprint(Settings())
    assert fingerprint(Settings(out="a"), ["out"]) == fingerprint(Settings(), ["out"])

    @dataclass(frozen=True)
    class Shuffled:
        out: str | None = None
        name: str = "x"
        amp: bool = False
        lr: float = 0.1
        epochs: int = 10

    assert fingerprint(Shuffled()) == fingerprint(Settings())
    assert list(to_dict(Shuffled(), ["amp"])) == ["out", "name", "lr", "epochs"]


def test_toml(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('epochs = 3\nname = "ü"\n', encoding="utf-8")
    assert read_toml(path) == {"epochs": 3, "name": "ü"}
    path.write_bytes(b"epochs = ")
    with pytest.raises(InputError, match=r"a\.toml is not valid TOML"):
        read_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"line 1 of .*a\.toml is not UTF-8 text"):
        read_toml(path)
    with pytest.raises(InputError, match="there is no file"):
        read_toml(tmp_path / "b.toml")
    with pytest.raises(InputError, match="cannot be read: it is a folder"):
        read_toml(tmp_path)


# Files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing_writes_whole_files(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_replace(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_replace(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_files_have_the_mode_of_a_plain_open(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ü": [1, 0.1, None]})
    assert read_json(path) == {"ü": [1, 0.1, None]}
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, math.nan)
    assert json.loads(path.read_text()) == {"ü": [1, 0.1, None]}
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="there is no file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the standard's own example
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea")
    assert file_digest(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_cache_root(monkeypatch):
    monkeypatch.setenv("NOISYLABELS_CACHE", "~/mine")
    assert cache_root() == Path.home() / "mine"
    monkeypatch.delenv("NOISYLABELS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_root() == Path("/caches/noisylabels")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "noisylabels"


# Random streams

SEED_OF_NOISE = 5127903134280592399
FIRST_UNIFORMS = [0.8019873560941643, 0.30382480629190556, 0.7253753402048808]


def philox(key, n):
    """Philox 4x64 with 10 rounds (Salmon et al. 2011), written from the paper, counter from 1."""
    mask, words = 2**64 - 1, []
    for block in range(1, n // 4 + 2):
        c, k = [block, 0, 0, 0], [key, 0]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        words += c
    return words[:n]


def test_seeds_are_hashes_of_names():
    digest = hashlib.sha256(b"3/order/7").digest()
    assert derive_seed(3, "order", 7) == int.from_bytes(digest[:8], "big") // 2
    assert derive_seed(0, "noise") == SEED_OF_NOISE
    assert derive_seed(np.int64(3), "order", 7) == derive_seed(3, "order", 7)
    seeds = {
        derive_seed(seed, name) for seed in range(20) for name in ("noise", "order", "weights", "augment")
    }
    assert len(seeds) == 80
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None])
def test_seeds_are_integers_of_0_or_more(seed):
    with pytest.raises(InputError, match=r"seed is .*, expected an integer of 0 or more"):
        derive_seed(seed, "noise")


def test_uniforms_are_the_same_for_ever():
    """A change here changes the labels of all existing studies."""
    found = uniforms(9, 0, "noise")
    assert found.tolist() == [word / 2**53 for word in (w >> 11 for w in philox(SEED_OF_NOISE, 9))]
    assert found[:3].tolist() == FIRST_UNIFORMS
    assert uniforms(3, 0, "noise").tolist() == found[:3].tolist()  # a longer draw begins alike


def test_uniforms_are_uniform_and_streams_differ():
    one, two = uniforms(20_000, 0, "noise"), uniforms(20_000, 0, "order")
    assert one.min() >= 0
    assert one.max() < 1
    assert abs(one.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert abs(np.corrcoef(one, uniforms(20_000, 1, "noise"))[0, 1]) < 0.03
    assert uniforms(0, 0, "noise").shape == (0,)


def test_normals_are_normal():
    n = 200_001
    z = normals(n, 3, "test")
    assert len(z) == n
    for power, moment, deviation in [
        (1, 0, 1),
        (2, 1, math.sqrt(2)),
        (3, 0, math.sqrt(15)),
        (4, 3, math.sqrt(96)),
    ]:
        assert abs((z**power).mean() - moment) < 5 * deviation / math.sqrt(n)
    below = [np.mean(z < edge) for edge in (-2, -1, 0, 1, 2)]
    assert below == pytest.approx([NormalDist().cdf(edge) for edge in (-2, -1, 0, 1, 2)], abs=0.006)
    assert abs(np.corrcoef(z[: n // 2], z[n - n // 2 :])[0, 1]) < 5 / math.sqrt(n // 2)


def test_generators():
    import torch

    before = torch.random.get_rng_state()
    one, again, other = (torch.rand(4, generator=generator(0, name)) for name in ("a", "a", "b"))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
