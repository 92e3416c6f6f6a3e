"""The library without the package paper: a study, its report, lists and help."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import noisylabels

SOURCE = Path(noisylabels.__file__).parent

STUDY = """
title = "Two cells"

[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 2

[axes]
noise = ["symmetric:0.4"]
loss = ["ce", "nce+mae"]
"""

PROGRAM = """
import importlib.util
import json
import sys

assert importlib.util.find_spec("noisylabels.paper") is None
from noisylabels.cli import main
from noisylabels.study.grid import studies

codes = []
for words in json.loads(sys.argv[1]):
    try:
        codes.append(main(words))
    except SystemExit as ended:
        codes.append(ended.code)
print(json.dumps([codes, sorted(studies())]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Return the folder of a copy of the package without paper."""
    folder = tmp_path_factory.mktemp("without-paper")
    leave = shutil.ignore_patterns("*.pyc.*", "paper")
    shutil.copytree(SOURCE, folder / "noisylabels", ignore=leave)
    assert not (folder / "noisylabels" / "paper").exists()
    assert (folder / "noisylabels" / "recipes" / "paper.toml").exists()  # of the study tenth
    return folder


def test_a_study_and_its_report_work_without_the_paper(package: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(STUDY)
    (tmp_path / "mine.py").write_text(
        "from noisylabels.study.claims import claim, more\n"
        "from noisylabels.study.results import accuracy\n"
        "@claim('mine', 'NCE+MAE is more accurate than CE.')\n"
        "def mine(results):\n"
        "    return [more(accuracy, 'nce+mae', 'ce', 'symmetric:0.4')]\n"
    )
    commands = [
        ["study", "run", "two.toml", "--jobs", "0", "--device", "cpu"],
        ["report", "runs/two", "--claims", "mine.py", "--formats"],
        ["list", "recipes"],
        ["--help"],
        ["study", "--help"],
        ["study", "show", "paper"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    codes, studies = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0, 0, 0, 0, 0, 2], done.stderr
    assert studies == ["digits", "frozen", "human", "tenth"]
    assert "there is no study 'paper'" in done.stderr
    report = tmp_path / "runs" / "two-report"
    tables = {path.stem for path in (report / "tables").glob("*.csv")}
    assert {"accuracy-symmetric", "claims", "measures-symmetric", "settings"} <= tables
    assert "mine: NCE+MAE is more accurate than CE." in (report / "tables" / "claims.csv").read_text()
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Memorization and epoch selection" in page
    assert "(Table 1)" not in page
