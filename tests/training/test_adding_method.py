"""Adding a method takes one file and one row: this test does it and counts."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import noisylabels
import warm_process

PACKAGE = Path(noisylabels.__file__).parent

METHOD = '''"""Training on smoothed logits."""

from noisylabels.data.loader import Batch
from noisylabels.training.method import Method


class Cooled(Method):
    """Descend the loss of divided logits."""

    def __init__(self, model, loss, temperature: float = 2.0):
        super().__init__([model], loss)
        self.temperature = temperature

    def step(self, batch: Batch):
        """Return the loss of the divided logits, and the logits."""
        logits = self.logits(batch.inputs)
        return self.mean_loss(logits / self.temperature, batch), logits
'''

USE = """
import noisylabels as nl, torch
train, test = nl.load("digits")
model = nl.build_model("mlp", channels=1, image_size=(8, 8), num_classes=10)
how = {"method": "cooled(temperature=3)", "epochs": 3, "lr": 0.2, "device": "cpu"}
history = nl.fit(model, train, test, nl.loss("ce"), **how)
assert history.final["test_accuracy"] > 0.8, history.final
try:
    nl.fit(model, train, test, nl.loss("ce"), method="coold")
except nl.InputError as error:
    print(error)
"""


def test_a_method_is_a_file_and_a_row(tmp_path):
    copy = tmp_path / "noisylabels"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.pyc.*"))
    (copy / "methods" / "cooled.py").write_text(METHOD, encoding="utf-8")
    catalog = copy / "methods" / "catalog.py"
    before = catalog.read_text(encoding="utf-8")
    after = before.replace(
        '        "standard": Standard,\n', '        "standard": Standard,\n        "cooled": Cooled,\n'
    ).replace(
        "from noisylabels.methods.standard",
        "from noisylabels.methods.cooled import Cooled\nfrom noisylabels.methods.standard",
    )
    changed = set(after.splitlines()) ^ set(before.splitlines())
    assert len(changed) == 2  # an import and a row
    catalog.write_text(after, encoding="utf-8")
    ast.parse(after)
    done = warm_process.run(["-c", USE], env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "unknown method 'coold'; did you mean 'cooled'?"
