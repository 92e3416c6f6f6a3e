"""Add a loss to a copy of the package: count the edits, then test all that follows from them."""

from __future__ import annotations

import difflib
import os
import shutil
from pathlib import Path

import pytest

import noisylabels
import warm_process

PACKAGE = Path(noisylabels.__file__).parent

FUNCTION = '''

def sq(l: Tensor, q: float = 2.0) -> Tensor:
    """Power loss, ``(1-p)^q``."""
    return one_minus_exp(l) ** q
'''
ROW = """
register("sq", pointwise.sq, source="you, 2026", use="Try it.", domain={"q": {"low": 1.0}})
"""

CHECK = """
import torch
import noisylabels as nl
from noisylabels.losses import LOSSES

z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
t = torch.tensor([0, 1, 2, 4])
p = z.softmax(1)
cost = (1 - p) ** 2
at = cost[torch.arange(4), t]
gains = (1 - 1e-7) ** 2 - cost
for name, wanted in {
    "sq": at,
    "nsq": at / cost.sum(1),
    "nnsq": 1 - gains[torch.arange(4), t] / gains.sum(1),
}.items():
    function, module = getattr(nl.losses, name), nl.loss(name, reduction="none")
    assert function.__name__ == name and "Source: you, 2026" in function.__doc__
    assert "q: default 2, range [1, inf)." in function.__doc__
    assert torch.allclose(module(z, t), wanted, rtol=1e-12)
    assert torch.equal(function(z, t, reduction="none", q=2.0), module(z, t))
    assert torch.autograd.gradcheck(lambda z: module(z, t), (z,))
    q = torch.full((4, 5), 0.2, dtype=torch.float64)
    each = torch.stack([module(z, torch.full((4,), k)) for k in range(5)]).mean(0)
    assert torch.allclose(module(z, q), each)
    assert name in LOSSES and name in dir(nl.losses)
assert nl.loss("2*NSQ(q=3) + mae").expression == "2*nsq(q=3)+mae"
assert nl.loss("logit_clip(sq)").dominance(10) == float("inf")
assert nl.loss("nsq").label_sum(5) == 1.0
try:
    nl.loss("sq(q=0.5)")
except ValueError as error:
    assert "the parameter q of 'sq' is 0.5, expected a number in [1, inf)" in str(error)
print(nl.__file__)
"""
VERBS = """
from noisylabels.cli import main

assert main(["list", "losses"]) == 0
print("----")
assert main(["loss", "nsq"]) == 0
"""


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "noisylabels", ignore=shutil.ignore_patterns("*.pyc.*"))
    return tmp_path / "noisylabels"


def insert(path, after, text):
    """Insert `text` after the last line of what begins with the line `after`, up to the next blank line."""
    before, found, rest = path.read_text(encoding="utf-8").partition(after)
    assert found, after
    body, _, rest = rest.partition("\n\n")
    path.write_text(before + after + body + "\n" + text + "\n" + rest, encoding="utf-8")


def added_lines(copy):
    """Return what was added, file by file; nothing may have been taken away."""
    added = {}
    for path in sorted(copy.rglob("*.py")):
        name = path.relative_to(copy)
        old, new = ((root / name).read_text(encoding="utf-8").splitlines() for root in (PACKAGE, copy))
        changes = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
        assert not [line for line in changes if line[0] == "-"]
        if changes:
            added[name.as_posix()] = [line[2:] for line in changes]
    return added


def run(copy, *arguments):
    done = warm_process.run(arguments, cwd=copy.parent, env=os.environ | {"PYTHONPATH": str(copy.parent)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_loss_is_added_by_a_function_and_a_row(copy, capsys):
    insert(copy / "losses" / "pointwise.py", "def ael(", FUNCTION)
    insert(copy / "losses" / "entries.py", 'register(\n    "ael",', ROW.lstrip("\n"))
    added = {name: [line for line in lines if line.strip()] for name, lines in added_lines(copy).items()}
    assert {name: len(lines) for name, lines in added.items()} == {
        "losses/pointwise.py": 3,  # a signature, what it is, how it is computed
        "losses/entries.py": 1,
    }
    with capsys.disabled():
        print(f"\na loss of its own: {sum(map(len, added.values()))} lines in {len(added)} files")
    where = run(copy, "-c", CHECK).strip()
    assert Path(where).parent == copy
    listed, told = run(copy, "-c", VERBS).split("----")
    assert {"sq", "nsq", "nnsq"} <= {line.split()[0] for line in listed.splitlines() if line[:1].strip()}
    assert "[(1-p_y)^q] / Σ_k [(1-p_k)^q]" in told
    assert "sums to 1 over the 10 labels" in told
    assert "normalized power loss (you, 2026; normalized: Ma et al. 2020" in told
