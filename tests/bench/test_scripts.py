"""The scripts of benchmarks/ run to completion and write their output; small, on a CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import warm_process

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
GPU = ["--device=cpu", "--images=256", "--model=mlp", "--batch-size=64", "--epochs=2", "--seconds=0.2"]

TABLES = ["--methods", "NoisyLabelClassifier", "LogisticRegression", "RandomForest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "file", "shown"),
    [
        ("bench_start", ["--rounds=1"], "start-here.json", "| noisylabels --help |"),
        (
            "bench_step",
            ["--model=mlp", "--batch-size=512", "--rounds=2", "--loss-rounds=2"],
            "step-here.json",
            "of the plain loop's",
        ),
        (
            "bench_gpu",
            [*GPU, "--modes", "plain", "captured", "--processes", "2"],
            "gpu-here.json",
            "| captured | NotImplementedError: there are CUDA graphs on a GPU only |",
        ),
        (
            "bench_gpu_losses",
            ["--device=cpu", "--precision=float32", "--shapes", "64x10", "--losses", "nce+mae", "--rounds=2"],
            "gpu-losses-here.json",
            "| 64 x 10 | nce+mae |",
        ),
        (
            "bench_audit",
            ["--noises", "symmetric:0.2", "--seeds=1", "--epochs=1"],
            "audit-here.json",
            "| digits, symmetric:0.2 |",
        ),
        (
            "bench_given_probs",
            ["--rounds=2", "--examples=500", "--memory", "--mapped-examples=900", "--mapped-classes=20"],
            "given-probs-here.json",
            "MiB before the audit",
        ),
        (
            "bench_review",
            ["--images=80", "--side=64", "--decisions=12"],
            "review-here.json",
            "| the page's: key to painted frame |",
        ),
        (
            "equal_accuracy",
            ["--epochs=1", "--seeds=2", "--examples=200"],
            "equal-accuracy-digits.json",
            "| nce+rce |",
        ),
        (
            "bench_rows",
            ["--rounds=1", "--rows=512"],
            "rows-here.json",
            "| nce+mae | standardized once, fused |",
        ),
        (
            "bench_tables",
            [
                "--sets",
                "iris",
                "moons",
                "--examples=60",
                "--noises",
                "symmetric:0.2",
                "--seeds",
                "1",
                "2",
                *TABLES,
            ],
            "tables-here.json",
            "| mean rank | all |",
        ),
    ],
)
def test_a_script_runs_to_its_end(script, words, file, shown, tmp_path):
    if script == "bench_review" and not any(
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    ):
        pytest.skip("there is no chromium, chromium-browser or google-chrome on the PATH")
    if script != "equal_accuracy":
        words = [*words, "--machine=here"]
    if script == "bench_audit":
        words = [*words, f"--cells={tmp_path / 'cells'}"]
    if script == "bench_tables":
        words = [*words, "--rows", str(tmp_path / "rows.jsonl")]
    done = warm_process.run([SCRIPTS / f"{script}.py", *words, "--out", tmp_path])
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert isinstance(json.loads((tmp_path / file).read_text()), dict)
