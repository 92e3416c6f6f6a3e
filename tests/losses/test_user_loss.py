"""User-defined losses in expressions: found, checked, used in every form, and never run without need."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import noisylabels
from noisylabels.core.checks import InputError
from noisylabels.losses import loss, register
from noisylabels.losses.categories import category, normalized_of, parts
from noisylabels.losses.curve import curve
from noisylabels.losses.explain import explain

MINE = '''
import torch
from torch.nn import functional

def bounded(l, a=0.1):
    """Bounded cross entropy, ``-log((p+a)/(1+a))``."""
    return -((l.exp() + a) / (1 + a)).log()

def likely(l):
    return 2 - 2 * l.exp()

def steps(l, t=2):
    total = 0
    for i in range(1, t + 1):
        total = total + (1 - l.exp()) ** i / i
    return total

def calm(l, beta=0.1):
    """Confidence penalty, ``-log p_y + beta Σ_i p_i log p_i``."""
    return -l + beta * (l.exp() * l).sum(1, keepdim=True)

def entropy(logits, target, reduction="mean"):
    return functional.cross_entropy(logits, target, reduction=reduction)

def size(logits, target):
    """A loss that needs the logits themselves: their softmax does not determine their norm."""
    return logits.square().sum(1) / 100 + functional.cross_entropy(logits, target, reduction="none")

class Entropy(torch.nn.Module):
    def __init__(self, power=1.0):
        super().__init__()
        self.power = power

    def forward(self, logits, target, scale=1.0):
        return scale * functional.cross_entropy(logits, target, reduction="none") ** self.power

module = Entropy()
'''

BAD = """
import torch
from torch.nn import functional

class Made: pass
state = torch.nn.Linear(3, 3)
number = 3

def mean(logits, target): return functional.cross_entropy(logits, target)
def total(l): return l.sum()
def text(l): return "x"
def whole(l): return l.long()
def nan(l): return (l.exp() - 1).log()
def focal(l, gamma=0.5): return -(1 - l.exp()) ** gamma * l
def detached(l): return -l.detach()
def guess(logits, target): return (logits.argmax(1) != target).float()
def three(a, b, c): return a
def none(): return 1
def keyword(l, *, q): return l
def chance(l): return -l * torch.rand(())
def batch(logits, target):
    return functional.cross_entropy(logits, target, reduction="none") - logits.mean()
def centered(l): return -l + l.mean()
def raises(l):
    raise KeyError("spam")
def single(logits, target):
    return -(torch.eye(3)[target] * logits.log_softmax(1)) @ torch.ones(3)
"""
RAISING = BAD.splitlines().index('    raise KeyError("spam")') + 1


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Change to a folder with user-defined losses; remove their imports afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "my_bad.py").write_text(BAD)
    (tmp_path / "my_losses").mkdir()
    (tmp_path / "my_losses" / "mine.py").write_text(MINE)
    (tmp_path / "my broken.py").write_text("import math\n\ndef build(:\n")
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name == "mine" or name.startswith(("my_", "noisylabels_own_")):
            del sys.modules[name]


Z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.tensor([0, 1, 2, 3, 0, 1])
DENSE = Z.reshape(3, 2, 4).movedim(-1, 1), T.reshape(3, 2)
SOFT = torch.softmax(Z.flip(0), 1)

SAME = {
    "mine.py:bounded": "agce(a=0.1,q=1e-6)",  # which is its limit in q
    "mine.py:bounded(a=0.5)": "agce(a=0.5,q=1e-6)",
    "negative(mine.py:bounded(a=0.5))": "nnagce(a=0.5,q=1e-6)",
    "normalize(mine.py:bounded)": "nagce(a=0.1,q=1e-6)",
    "mine.py:likely": "mae",
    "normalize(mine.py:likely)": "nmae",
    "mine.py:steps(t=3)": "taylor_ce(t=3)",  # an integer, as the default is
    "mine.py:calm(beta=0.3)": "conf_penalty(beta=0.3)",
    "mine.py:entropy": "ce",
    "normalize(mine.py:entropy)": "nce",
    "mine.py:module(scale=2)": "2*ce",
    "logit_clip(normalize(mine.py:module) + 2*mine.py:likely, tau=2)": "logit_clip(nce+2*mae,tau=2)",
    "ls(mine.py:entropy)": "ls(ce)",
    "torch.nn.functional:cross_entropy": "ce",
}


@pytest.mark.parametrize(("own", "known"), SAME.items())
def test_it_is_the_same_as_what_the_catalog_has(own, known):
    for z, t in ((Z, T), DENSE, (Z, SOFT), (30 * Z, T)):
        results = []
        for text in (own, known):
            x = z.clone().requires_grad_()
            value = loss(text, reduction="none")(x, t)
            results.append((value.detach(), *torch.autograd.grad(value.sum(), x)))
        torch.testing.assert_close(results[0], results[1], rtol=2e-5, atol=1e-5)
    made, wanted = loss(own), loss(known)
    assert made.label_sum(7) == (None if wanted.label_sum(7) is None else pytest.approx(wanted.label_sum(7)))
    assert made.bounds(5) == pytest.approx(wanted.bounds(5), rel=1e-4)
    assert made.dominance(5) == pytest.approx(wanted.dominance(5), rel=1e-3)
    assert made.unique_optimum(5) == wanted.unique_optimum(5)
    assert made.kind == wanted.kind or known in ("nmae",)
    assert curve(made, 5, 11)["gradient"] == pytest.approx(
        curve(wanted, 5, 11)["gradient"], rel=1e-3, abs=1e-4
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mine.py:bounded", "mine.py:bounded"),
        ("./my_losses/../mine.py:bounded + MAE", "mine.py:bounded+mae"),
        ("my_losses.mine:bounded(a=0.10)", "my_losses.mine:bounded"),
        ("0.5*mine:bounded(a=1)*4", "2*mine:bounded(a=1)"),
        ("mine.py:bounded+0.5*mine.py:bounded", "1.5*mine.py:bounded"),
        ("Normalize( 3 * 'mine.py:bounded'(a=2) )+mae", "normalize(mine.py:bounded(a=2))+mae"),
        ('"my_losses/mine.py:bounded"', "my_losses/mine.py:bounded"),
        ("normalize(gce(q=0.5))", "ngce(q=0.5)"),
        ("negative(ce)", "nnce"),
        ("peer(mine.py:entropy,alpha=0.5)", "peer(mine.py:entropy,alpha=0.5)"),
    ],
)
def test_canonical(text, canonical):
    made = loss(text)
    assert made.expression == canonical
    assert loss(canonical).terms == made.terms
    assert pickle.loads(pickle.dumps(made)).terms == copy.deepcopy(made).terms == made.terms


@pytest.mark.parametrize("folder", ["with space", "it's", "c++", "ünïcode-1", 'say "so"', "a\\b"])
def test_paths_of_all_kinds(here, folder):
    (here / folder).mkdir()
    (here / folder / "mine.py").write_text(MINE)
    quote = '"' if "'" in folder else "'"
    made = loss(f"2*{quote}{folder}/mine.py:bounded{quote}(a=0.5) + mae")
    assert loss(made.expression).terms == made.terms
    assert made(Z, T) == pytest.approx(loss("2*mine.py:bounded(a=0.5)+mae")(Z, T).item())
    plain = all(c.isalnum() or c in "-\\" for c in folder)
    assert (quote in made.expression) != plain
    assert parts(made.expression)[0] == made.expression[2:].removesuffix("+mae")
    absolute = loss(f"{quote}{here}/{folder}/mine.py:bounded{quote}")
    assert absolute(Z, T) == pytest.approx(loss("mine.py:bounded")(Z, T).item())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.py:bounded", "there is no file nowhere.py for the loss 'nowhere.py:bounded'"),
        (r"C:\mine.py:bounded", r"there is no file C:\mine.py"),
        ("C:/mine.py:bounded", "there is no file C:/mine.py"),
        ("my_losses:bounded", "my_losses has no function 'bounded'"),
        ("my_nothing:bounded", "there is no module 'my_nothing' for the loss"),
        ("mine.py:bonded", "mine.py has no function 'bonded'; did you mean 'bounded'?"),
        ("'my broken.py:f'", "SyntaxError: invalid syntax (my broken.py, line 3)"),
        ("0:mae", "the loss '0:mae' cannot be parsed, expected FILE.py:FUNCTION or MODULE:FUNCTION"),
        ("mine.py", "expected a sum of losses such as mine.py:bounded"),
        ("my losses/mine.py:bounded", "in quotes if there are spaces or signs in the path"),
        ("mine.py : bounded", "expected a sum of losses such as mine.py:bounded"),
        ("mine.py:bounded(2)", "expected a sum of losses such as mine.py:bounded or mine.py:bounded(a=2)"),
        ("mine.py:bounded(b=2)", "the loss 'mine.py:bounded' has no parameter 'b'; its parameters: a"),
        ("mine.py:likely(b=2)", "no parameter 'b'; its parameters: none"),
        ("mine.py:bounded(a=x)", "a parameter of 'mine.py:bounded' in the loss"),
        ("mine.py:bounded(a=-0.5)", "the loss 'mine.py:bounded(a=-0.5)' is nan where the label has p = 0.27"),
        ("mine.py:bounded@cifar10", "the loss 'mine.py:bounded' has no presets"),
        (
            "mine.py:steps(t=1.5)",
            "TypeError: 'float' object cannot be interpreted as an integer (mine.py, line",
        ),
        ("label:smoothing", "there is no module 'label'"),
        ("mine.py:Entropy", "is a class; create an object in the file, mine = Entropy()"),
        ("my_bad.py:state", "keeps the tensor 'weight'"),
        ("my_bad.py:number", "'my_bad.py:number' is a int, expected a function"),
        (
            "my_bad.py:mean",
            "returns torch.float32 of shape () for logits of shape (5, 3), expected one value per example",
        ),
        ("my_bad.py:total", "expected one cost per label: floating-point (5, 3)"),
        ("my_bad.py:text", "returns a str for log-probabilities"),
        ("my_bad.py:whole", "returns torch.int64 of shape (5, 3)"),
        ("my_bad.py:nan", "the loss 'my_bad.py:nan' is nan where the label has p = 0.27"),
        ("my_bad.py:focal", "the gradient of the loss 'my_bad.py:focal' is nan where the label has p = 1 "),
        ("my_bad.py:detached", "has no gradient; does it use argmax, detach or no_grad?"),
        ("my_bad.py:guess", "has no gradient"),
        (
            "my_bad.py:three",
            "has a, b, c without a default, expected f(l) of log-probabilities, or f(logits",
        ),
        ("my_bad.py:none", "has no argument without a default"),
        ("my_bad.py:keyword", "has l, q without a default"),
        ("my_bad.py:chance", "returns different values for the same input"),
        ("my_bad.py:batch", "expected no mean or sum over the batch"),
        ("my_bad.py:centered", "expected no mean or sum over the batch"),
        ("my_bad.py:raises", f"failed: KeyError: 'spam' (my_bad.py, line {RAISING})"),
        ("my_bad.py:single", "failed: RuntimeError: "),  # in float64
        (
            "normalize(nce)",
            "normalize(...) contains 'nce', expected a single loss in its plain form, without a wrapper",
        ),
        ("normalize(ce+mae)", "contains 'ce+mae', expected a single loss"),
        ("normalize(logit_clip(ce))", "contains 'logit_clip(ce)', expected a single loss"),
        ("normalize(mse)", "the loss 'mse' has no normalized form: it uses the probabilities of all classes"),
        ("normalize(gjs)", "the loss 'gjs' has no normalized form: it compares views"),
        ("negative(mine.py:entropy)", "has no normalized negative form"),
        ("negative(mine.py:calm)", "has no normalized negative form"),
        ("normalize()", "has 'normalize' without a loss in it, expected, say, normalize(gce)"),
        ("normalize(ce, q=2)", "contains 'normalize(ce, q=2)'"),
        ("mae+normalize", "has 'normalize' without a loss"),
    ],
)
def test_whatever_is_wrong_is_one_clear_line(text, words):
    with pytest.raises(InputError) as caught:
        loss(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_trial_is_the_same_without_gradients():
    with torch.no_grad():
        loss("mine.py:bounded(a=0.7)")
    with torch.inference_mode():
        loss("normalize(mine.py:entropy)")


def test_an_error_in_training_has_its_line_too(here):
    (here / "my_late.py").write_text("def late(l):\n    assert len(l) < 100, 'too many'\n    return -l\n")
    made = loss("my_late.py:late")
    with pytest.raises(
        InputError, match=r"'my_late.py:late' failed: AssertionError: too many \(my_late.py, line 2"
    ):
        made(torch.zeros(200, 3), torch.zeros(200, dtype=torch.int64))


def test_logits_are_those_of_the_model():
    torch.testing.assert_close(
        loss("mine.py:size", reduction="none")(Z, T),
        Z.square().sum(1) / 100 + torch.nn.functional.cross_entropy(Z, T, reduction="none"),
    )
    # beside a loss that sees the softmax, and under a change of the logits
    together = loss("mine.py:size + mae + temper(mine.py:size)")(Z, T)
    alone = loss("mine.py:size")(Z, T) + loss("mae")(Z, T) + loss("mine.py:size")(Z / 2, T)
    torch.testing.assert_close(together, alone)


def test_many_classes_are_asked_for_in_parts(monkeypatch):
    from noisylabels.losses import user_loss

    whole = loss("normalize(mine.py:entropy)")(Z, T)
    monkeypatch.setattr(user_loss, "_ROOM", 30)  # one class at a time
    assert loss("normalize(mine.py:entropy)")(Z, T) == pytest.approx(whole.item())
    assert loss("normalize(mine.py:entropy)", reduction="sum")(Z[:0], T[:0]) == 0


def test_it_is_explained():
    facts = explain(loss("normalize(mine.py:bounded)+mine.py:calm+mine.py:entropy"))
    assert "[-log((p_y+a)/(1+a))] / Σ_k [-log((p_k+a)/(1+a))]" in facts["value at label y"]
    assert "-log p_y + beta Σ_i p_i log p_i" in facts["value at label y"]
    assert "entropy_y" in facts["value at label y"]
    assert "mine.py:bounded is bounded cross entropy (yours)" in facts["source"]
    normalized = loss("normalize(mine.py:calm)").equation
    assert normalized == "[-log p_y + beta Σ_i p_i log p_i] / Σ_k [-log p_k + beta Σ_i p_i log p_i]"
    with pytest.raises(InputError, match="is symmetric"):
        loss("normalize(mine.py:entropy)", label_smoothing=0.1)


@pytest.mark.parametrize("text", ["mine.py:bounded(a=0.5)+mae", "normalize(mine.py:module)", "mine.py:calm"])
def test_it_compiles_without_graph_breaks(text):
    made = loss(text)
    torch._dynamo.reset()
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(Z, T), made(Z, T))


def test_a_changed_file_is_read_again(here):
    before = loss("mine.py:likely")
    (here / "mine.py").write_text(MINE.replace("2 - 2 *", "4 - 4 *"))
    assert loss("mine.py:likely")(Z, T) == pytest.approx(2 * before(Z, T).item())
    assert before(Z, T) == pytest.approx(loss("mae")(Z, T).item())  # one that was made stays what it is


def test_a_pickle_finds_its_file_from_elsewhere(here):
    (here / "loss.pickle").write_bytes(pickle.dumps(loss("normalize(mine.py:bounded)+my_losses.mine:likely")))
    (here / "elsewhere").mkdir()
    program = (
        "import pickle; made = pickle.load(open('../loss.pickle', 'rb')); print(made.expression);"
        "import torch; print(float(made(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=here / "elsewhere",
        env=os.environ | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["normalize(mine.py:bounded)+my_losses.mine:likely", "1.75"]


def test_categories_do_not_run_user_code(here):
    (here / "my_trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n" + MINE)
    for spec in ("my_trap.py:bounded", "my_trap:bounded"):
        assert category(f"{spec}(a=2)") == "standard"  # or robust: it is not known
        assert category(f"normalize({spec})") == "normalized"
        assert category(f"{spec}+mae") == "combined"
        assert parts(f"mae+2*normalize({spec}(a=2))+{spec}")[-1] == "mae"
        assert set(parts(f"2*normalize({spec}(a=2))+{spec}")) == {f"normalize({spec}(a=2))", spec}
        assert normalized_of(f"{spec}(a=2)") == f"normalize({spec}(a=2))"
    assert normalized_of("normalize(my_trap.py:bounded)") is None
    assert not (here / "sprung").exists()
    loss("my_trap.py:bounded")
    assert (here / "sprung").exists()  # the trap works


def test_names_of_forms_are_not_names_of_losses():
    with pytest.raises(InputError, match="'normalize' means a form in expressions"):
        register("normalize", lambda l: -l)
    assert math.isfinite(loss("mine.py:bounded")(Z, T))
