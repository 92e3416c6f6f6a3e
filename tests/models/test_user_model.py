"""User-defined models: found, called, checked, and never run without need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import warm_process
from noisylabels.core.checks import InputError
from noisylabels.experiment import load_config, load_sets, run
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.models import build_model
from noisylabels.models.catalog import check_model

NETS = """
from torch import nn

def build(channels, image_size, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size[0] * image_size[1], num_classes))

def lazy(num_classes, **rest):
    assert sorted(rest) == ["channels", "image_size", "seed", "width"], rest
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

def wide(image_size, num_classes, *, channels=3, width=1.0, seed=-1, depth=2):
    model = build(channels, image_size, num_classes)
    model.got = (width, seed, depth)
    return model

class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.last = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.last(self.second(self.first(x[:, 0, :4, :4].flatten(1))))

def fails(num_classes):
    raise KeyError("spam")

def positional(channels, /, num_classes):
    return build(channels, (8, 8), num_classes)

def wants(num_classes, depth, color):
    pass

def nothing(num_classes):
    pass

def a_class(num_classes):
    return nn.Linear

def rgb_only(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

def ten():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

def pair(num_classes):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x
    return Pair()

def whole(num_classes):
    class Whole(nn.Module):
        def forward(self, x):
            return x.new_zeros(len(x), num_classes).long()
    return Whole()

def remembers(num_classes):
    class Remembers(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)[:, :4])
        def get_extra_state(self):
            return {"not": "a tensor"}
        def set_extra_state(self, state):
            pass
    return Remembers(4, num_classes)

def stops(num_classes):
    raise SystemExit(3)

number = 3
"""

FAILING = NETS.splitlines().index('    raise KeyError("spam")') + 1
SHAPE = {"channels": 1, "image_size": (8, 8), "num_classes": 5}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Change to a folder with user-defined modules; remove their imports afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "nets.py").write_text(NETS)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file.py").write_text("from my_sibling import build\n")
    (tmp_path / "elsewhere" / "my_sibling.py").write_text(NETS)
    (tmp_path / "my_broken.py").write_text("import math\n\ndef build(:\n")
    (tmp_path / "my_raising.py").write_text("\n\n1 / 0\n")
    (tmp_path / "my_needy.py").write_text("import no_such_package\n")
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "noisylabels_own_")):
            del sys.modules[name]


@pytest.mark.parametrize(
    "spec", ["my_nets:build", "my_pkg.nets:build", "my_nets.py:build", "elsewhere/file.py:build"]
)
def test_it_is_found_and_seeded(here, spec):
    state = torch.random.get_rng_state()
    model, again, other = (build_model(spec, **SHAPE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 5)
    assert model.training
    assert torch.equal(model[1].weight, again[1].weight)
    assert not torch.equal(model[1].weight, other[1].weight)


def test_it_gets_what_it_asks_for(here):
    assert build_model("my_nets:wide", **SHAPE, width=0.5, seed=7).got == (0.5, 7, 2)
    assert build_model("my_nets:lazy", **SHAPE)[1].weight.shape == (5, 64)  # the trial completed it
    assert isinstance(build_model("my_nets:Tied", **SHAPE), nn.Module)  # a class is a function too


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_nest:build", ["no module 'my_nest'"]),
        ("my_pkg.nest:build", ["no module 'my_pkg.nest'"]),
        ("my_nets.deeper:build", ["no module 'my_nets.deeper'"]),
        ("nowhere.py:build", ["no file nowhere.py"]),
        ("my_nets:biuld", ["has no function 'biuld'", "did you mean 'build'"]),
        ("my_nets:number", ["is a int, expected a function"]),
        ("my_broken:build", ["SyntaxError", "my_broken.py, line 3"]),
        ("my_broken.py:build", ["SyntaxError", "my_broken.py, line 3"]),
        ("my_raising:build", ["ZeroDivisionError: division by zero", "my_raising.py, line 3"]),
        ("my_raising.py:build", ["ZeroDivisionError", "my_raising.py, line 3"]),
        ("my_needy:build", ["No module named 'no_such_package'", "my_needy.py, line 1"]),
        ("my_nets:fails", ["KeyError: 'spam'", f"my_nets.py, line {FAILING}"]),
        ("my_nets:stops", ["SystemExit: 3"]),
        ("my_nets:positional", ["requires channels", "by keyword"]),
        ("my_nets:wants", ["requires depth, color"]),
        ("my_nets:nothing", ["returned a NoneType, expected an nn.Module"]),
        ("my_nets:a_class", ["returned the class Linear, expected an nn.Module"]),
        ("my_nets:rgb_only", ["fails on images of shape (2, 1, 8, 8)", "3 channels"]),
        ("my_nets:ten", ["returns (2, 10) torch.float32", "logits of shape (2, 5)"]),
        ("my_nets:pair", ["returns a tuple"]),
        ("my_nets:whole", ["torch.int64", "floating-point"]),
        ("my_nets:remembers", ["'_extra_state'", "a dict", "only tensors"]),
    ],
)
def test_whatever_is_wrong_is_one_clear_line(here, spec, words):
    with pytest.raises(InputError) as error:
        build_model(spec, **SHAPE)
    for word in (*words, repr(spec.partition(".py")[0])[1:-1]):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_has_no_line(tmp_path):
    (tmp_path / "bytes.py").write_bytes(b"x = 1\n\x00")
    with pytest.raises(InputError) as error:
        build_model(f"{tmp_path}/bytes.py:build", **SHAPE)
    assert "SyntaxError: " in str(error.value)
    assert "None" not in str(error.value)


def test_sizes_are_offered_where_they_cannot_be_read():
    with pytest.raises(
        InputError, match=r"the model 'mlp:0' cannot be parsed; expected .* mlp:SIZE,SIZE, timm"
    ):
        build_model("mlp:0", **SHAPE)


def test_a_width_that_it_does_not_take(here):
    with pytest.raises(InputError, match=r"has no argument width, but --width is 0\.5"):
        build_model("my_nets:build", **SHAPE, width=0.5)


def test_what_is_wrong_with_the_name_shows_before_data_are_read(here):
    check_model("my_nets:build")
    for spec in ("my_nest:build", "my_nets:biuld", "my_raising:build", "nowhere.py:build"):
        with pytest.raises(InputError):
            check_model(spec)
        with pytest.raises(InputError):
            run(load_config(None, model=spec, data="not/there", out="run"))
        assert not Path("run").exists()


SETTINGS = {"epochs": 1, "lr": 0.05, "device": "cpu"}


@pytest.mark.parametrize("spec", ["my_nets:Tied", "./my_nets.py:Tied"])
def test_a_run_with_it_and_what_it_takes_to_use_the_run(here, spec):
    config = load_config(None, **SETTINGS, model=spec, out="run")
    result = run(config)
    name = result.config["model"]
    assert name == spec.removeprefix("./")
    _, test = load_sets(config)
    with pytest.raises(InputError, match=rf"user-defined code.*pass --model {name}$"):
        load_model(Path("run"), "cpu")
    probs = predict(load_model(Path("run"), "cpu", name), test.images)
    accuracy = (probs.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(result.final["test_accuracy"], abs=1e-9)
    with pytest.raises(InputError, match=r"'mlp' is not the one trained in .*: its first.bias is missing"):
        load_model(Path("run"), "cpu", "mlp")
    with pytest.raises(InputError, match=r"no module 'my_gone'"):
        load_model(Path("run"), "cpu", "my_gone:build")


def test_a_run_of_a_stranger_runs_no_code(here):
    """The folder names a module that would leave a trace if it was imported, already imported or not."""
    (here / "my_trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n" + NETS)
    run(load_config(None, **SETTINGS, model="mlp", out="run"))
    file = here / "run" / "model.safetensors"
    from safetensors import safe_open
    from safetensors.torch import save_file

    from noisylabels.training.weights_file import digest_of

    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["noisylabels"])
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name in ("my_trap:build", "my_trap.py:build", "os:system", "mlp:build"):
        header["shape"]["name"] = name
        # a stranger can make the checksums match
        result = json.loads((here / "run" / "result.json").read_text())
        result["weights"] = header["sha256"] = digest_of(weights, header)
        (here / "run" / "result.json").write_text(json.dumps(result))
        save_file(weights, file, metadata={"noisylabels": json.dumps(header)})
        with pytest.raises(InputError, match="user-defined code"):
            load_model(here / "run", "cpu")
    assert not (here / "sprung").exists()
    load_model(here / "run", "cpu", "mlp")  # the caller's word goes over the folder's
    with pytest.raises(InputError, match="is not the one trained"):
        load_model(here / "run", "cpu", "my_trap:build")
    assert (here / "sprung").exists()  # the trap works


def test_from_the_command_line(here):
    """A console script does not have the current folder among the places where Python looks."""

    def noisylabels(*words: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; sys.path[:] = [p for p in sys.path if p]; from noisylabels.cli import main; "
        program += f"sys.exit(main({list(words)!r}))"
        return warm_process.run(["-c", program])

    train = ["train", "--epochs", "1", "--device", "cpu", "--out", "run", "--model"]
    done = noisylabels(*train, "my_nets:build")
    assert done.returncode == 0, done.stderr
    done = noisylabels("predict", "run", ".", "--device", "cpu")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--model my_nets:build" in done.stderr
    from PIL import Image

    Image.new("L", (8, 8)).save("black.png")
    done = noisylabels("predict", "run", "black.png", "--device", "cpu", "--model", "my_nets:build")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("image,label,probability\nblack.png,")
