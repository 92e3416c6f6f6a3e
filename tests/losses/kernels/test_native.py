"""The compiled kernel against the reference, for every instruction set that this CPU supports."""

from __future__ import annotations

import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noisylabels.losses import PAPER, evaluation, loss
from noisylabels.losses.evaluation import TargetOptions
from noisylabels.losses.kernels import native
from noisylabels.losses.kernels.compile_native import GENERATIONS, compile_native

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

SUMS = [
    *PAPER,
    "gce+taylor_ce+2*phuber_ce",
    "agce+aul+ael+js+poly1",
    "nfl(gamma=2)+0.5*nce+fl(gamma=2)",
    "nfl(gamma=0.1)+3*rce(A=-9.2)",
    "nfl(detach=1)+fl(detach=1)",
    "js(w=0.999)+js(w=1e-12)+gce(q=1e-8)+taylor_ce(t=7)",
]
CLASSES = (2, 10, 31, 32, 33, 100, 1001)  # about where rows of few classes end


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Return the compiled kernels by instruction set."""
    made = compile_native(tmp_path_factory.mktemp("native"))
    return {file.stem.removeprefix("_native-"): file for file in made}


@pytest.fixture(params=GENERATIONS)
def kernel(request, compiled, monkeypatch):
    if request.param not in native.runnable() or request.param not in compiled:
        pytest.skip(f"this processor or its compiler knows no {request.param}")
    monkeypatch.setattr(native, "_LIBRARY", native.load(compiled[request.param]))
    assert native.name() == request.param
    return request.param


@pytest.fixture
def ran(monkeypatch):
    """Return the list of arguments of the kernel's calls."""
    calls = []
    run = native.run
    monkeypatch.setattr(native, "run", lambda *given: calls.append(given) or run(*given))
    return calls


def batch(n, classes, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, classes, generator=generator) * scale
    return z, torch.randint(classes, (n,), generator=generator)


def gradient(call, z, up=None):
    z = z.detach().requires_grad_()
    value = call(z)
    (found,) = torch.autograd.grad(value, z, torch.ones_like(value) if up is None else up)
    return value.detach(), found


def right(made, z, t, up=None):
    """Return value and gradient of the reference in double precision."""
    weight = None if made.weight is None else made.weight.double()
    how = TargetOptions(weight, made.reduction, made.ignore_index, 0.0)
    up = None if up is None else up.double()
    return gradient(lambda z: evaluation.evaluate(made._plan.parts, z, t, how), z.double(), up)


@pytest.mark.parametrize("text", SUMS)
def test_value_and_gradient_are_the_reference_s(kernel, text, ran):
    for classes in CLASSES:
        for seed, n in enumerate((1, 15, 16, 37)):
            z, t = batch(n, classes, seed)
            made = loss(text, reduction="none")
            up = torch.linspace(0.5, 1.5, n)
            found, wanted = gradient(lambda z, m=made, t=t: m(z, t), z, up), right(made, z, t, up)
            for got, known in zip(found, wanted, strict=True):
                torch.testing.assert_close(got.double(), known, rtol=1e-5, atol=5e-6)  # of costs to 40
    assert len(ran) == 4 * len(CLASSES)


@pytest.mark.parametrize("text", ["nce+rce", "nfl+mae"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [-100, 1, None])
def test_targets_count_as_in_the_reference(kernel, text, reduction, weighted, ignore, ran):
    for classes in (3, 40):
        z, t = batch(41, classes)
        given = z.clone()
        if ignore == -100:
            t[::3] = -100
            given[3] = math.nan  # of a row that does not count; its gradient is 0 all the same
        weight = torch.linspace(0, 2, classes) if weighted else None
        made = loss(text, reduction=reduction, weight=weight, ignore_index=ignore)
        found, wanted = gradient(lambda z, m=made, t=t: m(z, t), given), right(made, z, t)
        for got, known in zip(found, wanted, strict=True):
            torch.testing.assert_close(got.double(), known, rtol=1e-5, atol=1e-6)
    assert len(ran) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_halves_are_read_and_rounded_as_torch_does(kernel, dtype, ran):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    every = every[every.float().abs() < 1e4]
    every = every[: len(every) // 100 * 100]
    for classes in (10, 100):
        z = every.reshape(-1, classes)
        t = torch.arange(len(z)) % classes
        for text in ("nce+rce", "nfl+mae"):
            made = loss(text, reduction="none")
            value, found = gradient(lambda z, m=made, t=t: m(z, t), z)
            wide_value, wide = gradient(lambda z, m=made, t=t: m(z, t), z.float())
            assert torch.equal(value, wide_value)
            assert torch.equal(found, wide.to(dtype))
    assert len(ran) == 8


@pytest.mark.parametrize("text", SUMS)
@pytest.mark.parametrize("classes", [12, 50])
def test_extreme_logits(kernel, text, classes):
    z = torch.zeros(8, classes)
    z[0, 0], z[1, 1], z[2], z[3, :6], z[4, 0] = 1e4, -1e4, 1e4, -1e4, 60.0
    z[5, 0], z[5, 1:], z[6] = 1e4, -1e4, torch.linspace(-1e4, 1e4, classes)
    for label in (0, 1, 11):
        t = torch.full((8,), label)
        made = loss(text, reduction="none")
        value, slope = gradient(lambda z, m=made, t=t: m(z, t), z)
        known, known_slope = right(made, z, t)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()
        torch.testing.assert_close(value.double(), known, rtol=2e-5, atol=1e-5)
        torch.testing.assert_close(slope.double(), known_slope, rtol=1e-4, atol=1e-5)


def test_what_is_not_finite_shows(kernel):
    for classes in (5, 50):
        for bad in (math.nan, math.inf):
            for at in (0, 3):
                z, t = batch(20, classes)
                z[7, at] = bad
                value, slope = gradient(lambda z, t=t: loss("nce+rce", reduction="none")(z, t), z)
                assert value.isnan().nonzero().tolist() == [[7]]
                assert slope.isnan().any(1).nonzero().tolist() == [[7]]
        z, t = batch(20, classes)
        z[:, 1], t = -math.inf, t.clamp_min(2)  # a class that is masked
        for text in ("ce", "fl", "mae", "rce"):
            value, slope = gradient(lambda z, t=t, text=text: loss(text)(z, t), z)
            assert torch.isfinite(value)
            assert torch.equal(slope[:, 1], torch.zeros(20))


@pytest.mark.parametrize("text", ["nce+rce", "nfl+mae"])
def test_the_gradient_may_take_the_place_of_the_logits(kernel, text):
    how = TargetOptions(None, "sum", -100, 0.0)
    for classes in (10, 100):
        steps = loss(text)._plan.steps(classes)
        for dtype in (torch.float32, torch.bfloat16):
            z, t = batch(37, classes)
            z = z.to(dtype)
            t[4] = -100
            value, slope = native.run(steps.native, z, t, how, True)
            again, written = native.run(steps.native, z, t, how, True, z)
            assert written is z
            assert torch.equal(value, again)
            assert torch.equal(slope, z)
    assert not native.takes(z.half(), t, None, z.half())  # whose gradients are float32


@pytest.mark.parametrize("text", ["ce", "nce", "mae", "nfl", "nfl(gamma=2)"])
def test_very_many_classes_lose_nothing(kernel, text):
    z = torch.zeros(2, 300_000)
    z[:, 7] = 5.3  # all others are equal, so that roundings of a sum would all go the same way
    t = torch.tensor([3, 7])
    made = loss(text, reduction="none")
    found, wanted = gradient(lambda z: made(z, t), z), right(made, z, t)
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=2e-4, atol=1e-12)


def test_torch_s_defaults_are_not_the_kernel_s(kernel, ran):
    z, t = batch(6, 5)
    values = loss("nce+rce", reduction="none")(z, t)
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            again = loss("nce+rce", reduction="none")(z, t)
            assert again.dtype == torch.float32
            assert torch.equal(again, values)
    finally:
        torch.set_default_dtype(before)
    with torch.device("meta"):
        assert torch.equal(loss("nce+rce", reduction="none")(z, t), values)
    assert len(ran) >= 3


def test_only_what_lies_in_memory_is_read(kernel, ran):
    z, t = batch(6, 5)
    w = torch.rand(5)
    with pytest.raises(RuntimeError):
        loss("nce+rce", weight=w.to("meta"))(z, t)
    loss("nce+rce")(torch._efficientzerotensor((6, 5)), t)
    assert ran == []
    negated = loss("nce+rce", weight=torch._neg_view(-w), reduction="sum")(z, t)
    torch.testing.assert_close(negated, loss("nce+rce", weight=w, reduction="sum")(z, t))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_tracer_sees_operations(kernel):
    z, t = batch(6, 5)
    made = loss("nce+rce")
    traced = torch.jit.trace(lambda z, t: made(z, t), (z, t), check_trace=False)
    other = batch(6, 5, seed=1)[0]
    torch.testing.assert_close(traced(other, t), made(other, t))


def test_a_pickle_holds_nothing_of_the_kernel(kernel, monkeypatch):
    z, t = batch(6, 5)
    made = loss("nce+rce")
    value = made(z, t)
    kept = pickle.dumps(made)
    monkeypatch.setattr(native, "_LIBRARY", None)
    torch.testing.assert_close(pickle.loads(kept)(z, t), value)


def test_a_kernel_of_another_source_is_left_alone(compiled, monkeypatch):
    monkeypatch.setattr(native, "ABI", native.ABI + 1)
    assert native.load(compiled["plain"]) is None


def test_threads_change_no_bit(kernel, monkeypatch):
    monkeypatch.setattr(native, "THREAD", 100)
    before = torch.get_num_threads()
    try:
        for classes in (10, 100):
            z, t = batch(333, classes)
            t[5] = -100
            found = {}
            for threads in (1, 2, 5, 100):  # more than the kernel starts
                torch.set_num_threads(threads)
                found[threads] = gradient(lambda z, t=t: loss("nfl+rce")(z, t), z)
            for value, slope in found.values():
                assert torch.equal(value, found[1][0])
                assert torch.equal(slope, found[1][1])
    finally:
        torch.set_num_threads(before)


def test_what_it_does_not_know_goes_through_torch_s_operations(kernel, ran):
    z, t = batch(6, 5)
    for text in ("nnagce", "ngce", "nfl+nfl(gamma=3)", "ls"):
        loss(text)(z, t)
    loss("ce")(z.double(), t)
    loss("ce")(z.t().contiguous().t(), t)
    loss("ce")(z.unsqueeze(2).expand(6, 5, 2), t.unsqueeze(1).expand(6, 2))
    assert ran == []
    loss("ce")(z, t.int())
    assert len(ran) == 1


def test_labels_out_of_range_write_nothing(kernel):
    z, t = batch(6, 5)
    for bad in (5, -1):
        t[3] = bad
        with pytest.raises(IndexError):
            native.run(loss("ce")._plan.steps(5).native, z, t, TargetOptions(None, "mean", None, 0.0), True)


def test_the_compiler_is_named_when_it_fails(tmp_path, monkeypatch, capsys):
    script = str(Path(native.__file__).with_name("compile_native.py"))
    for compiler, words in (
        ("no-such-compiler", "no C compiler found"),
        ("false", "false could not compile native.c"),
    ):
        copy = tmp_path / compiler
        copy.mkdir()
        shutil.copy(script, copy)
        shutil.copy(Path(script).with_name("native.c"), copy)
        done = subprocess.run(
            [sys.executable, "compile_native.py"], cwd=copy, env={"CC": compiler, "PATH": "/bin:/usr/bin"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not list(copy.glob("_native*"))


def test_it_can_be_left_out():
    code = "from noisylabels.losses.kernels import native; print(native.name())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"NOISYLABELS_NATIVE": "0", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "None"
