"""Each example runs as a user would run it, and in its own figures the robust one is the better one."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

import noisylabels
import warm_process

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

# points by which the robust loss, or selection, must lead on clean labels, and what the example needs
# beyond the package
MARGINS = {
    "with_pytorch": (10.0, []),
    "with_trainer": (8.0, ["transformers", "accelerate"]),
    "with_lightning": (6.0, ["lightning"]),
    "with_skorch": (4.0, ["skorch"]),
    "text": (4.0, []),
    "segmentation": (5.0, []),
    "select_pytorch": (8.0, []),
    "select_trainer": (8.0, ["transformers", "accelerate"]),
    "select_lightning": (8.0, ["lightning"]),
    "select_ddp": (4.0, []),
}


def run(name: str) -> str:
    """Run an example in a process of its own, without a network's help, and return what it printed."""
    source = str(Path(noisylabels.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = warm_process.run([*launcher * (name == "select_ddp"), EXAMPLES / f"{name}.py"], env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"two_losses", "own_method", *MARGINS}


@pytest.mark.slow
@pytest.mark.parametrize("name", MARGINS)
def test_the_robust_loss_leads_in_the_example(name: str) -> None:
    margin, needed = MARGINS[name]
    for package in needed:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'noisylabels[examples]'")
    printed = run(name)
    found = re.findall(r"^([\w+]+):.*?([\d.]+)%", printed, re.MULTILINE)
    assert len(found) == (3 if name == "select_pytorch" else 2), printed
    (first, plain), *others = found
    assert first == "ce"
    assert min(float(robust) for _, robust in others) > float(plain) + margin, printed
    if name == "with_skorch":
        assert printed.rstrip().endswith("chosen on noisy labels: nce+mae")


def test_trainers_loss_is_the_same_however_a_step_is_divided(tmp_path: Path) -> None:
    """Two batches of 4, accumulated, move the weights as far as one of 8."""
    for package in ("transformers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'noisylabels[examples]'")
    program = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
import torch
from with_trainer import Rows, make_trainer
draw = torch.Generator().manual_seed(0)
rows = Rows(torch.randint(256, (8, 1, 8, 8), generator=draw), torch.randint(10, (8,), generator=draw))
for batch, parts in ((8, 1), (4, 2)):
    trainer = make_trainer(
        "nce+mae", {str(tmp_path)!r}, rows, rows, max_steps=1, per_device_train_batch_size=batch,
        gradient_accumulation_steps=parts, optim="sgd", learning_rate=1.0, warmup_steps=0, max_grad_norm=0.0,
    )
    for layer in trainer.model.modules():  # its statistics would be of 8 images or of 4
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
            layer.forward = lambda x: x
    before = trainer.model.classifier[1].weight.detach().clone()
    trainer.train()
    print("moved", float((trainer.model.classifier[1].weight - before).norm()))
"""
    source = str(Path(noisylabels.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "HF_HUB_OFFLINE": "1"}
    done = warm_process.run(["-c", program], env=environment)
    assert done.returncode == 0, done.stderr
    whole, halves = map(float, re.findall(r"moved ([\d.e+-]+)", done.stdout))
    assert whole > 0
    assert halves == pytest.approx(whole, rel=1e-3)
