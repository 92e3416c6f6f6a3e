"""Check that the installed package works; run by `check_dist.py` with the interpreter of a fresh environment.

It imports nothing but what the package itself requires, and is not a test of the suite.
"""

import argparse
import math
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata, resources
from pathlib import Path

import torch

import noisylabels as nl


def check_origin() -> None:
    """Check that the package comes from this environment, and that its version is the metadata's."""
    installed = Path(sysconfig.get_path("platlib")).resolve()
    assert Path(nl.__file__).resolve().is_relative_to(installed), f"imported from {nl.__file__}"
    assert metadata.version("noisylabels") == nl.__version__


def check_kernel(expected: str) -> None:
    """Check that the compiled kernel is in use, or that there is none."""
    found = "present" if nl.losses.kernel_name() else "absent"
    assert found == expected, f"the compiled kernel is {found}, expected {expected}"


def check_loss() -> None:
    """Compare value and gradient of nce + mae with its formula, written with torch's operations."""
    torch.manual_seed(0)
    logits = torch.randn(64, 10, requires_grad=True)
    target = torch.randint(10, (64,))
    log_p = logits.log_softmax(1)
    at_label = log_p.gather(1, target[:, None])[:, 0]
    formula = (at_label / log_p.sum(1) + 2 - 2 * at_label.exp()).mean()
    (expected,) = torch.autograd.grad(formula, logits)
    loss = nl.loss("nce + mae")(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, formula)
    torch.testing.assert_close(gradient, expected)
    uniform = nl.loss("nce")(torch.zeros(2, 10), torch.tensor([3, 4])).item()
    assert math.isclose(uniform, 0.1, rel_tol=1e-6)


def check_resources() -> None:
    """Check that a recipe, a published table and the pages' sources came along."""
    for name in ("recipes/digits.toml", "report/page.html.j2", "audit/review/page.js", "py.typed"):
        assert resources.files("noisylabels").joinpath(name).is_file(), name


def check_commands() -> None:
    """Run the installed command: its version, and one epoch on the digits, which scikit-learn brings."""
    command = str(Path(sys.executable).with_name("noisylabels"))
    version = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    assert nl.__version__ in version, version
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        subprocess.run([command, "train", "digits", "--epochs", "1", "--out", str(out)], check=True)
        assert (out / "result.json").is_file()
        assert (out / "model.safetensors").is_file()


def main() -> None:
    """Run every check; the first that fails ends the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", choices=("present", "absent"), required=True)
    check_kernel(parser.parse_args().kernel)
    check_origin()
    check_loss()
    check_resources()
    check_commands()


if __name__ == "__main__":
    main()
