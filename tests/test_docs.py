"""The documents tell the truth: commands parse, code runs, tables are the ones in results/."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisylabels
import warm_process
from noisylabels.cli import main
from noisylabels.cli.parser import VERBS, parse
from noisylabels.noise import KINDS, MAPS
from noisylabels.report.tables import markdown
from noisylabels.study import load_study
from noisylabels.study.results import read_results
from noisylabels.study.store import read_rows
from noisylabels.study.tables import accuracies

ROOT = Path(__file__).parent.parent
ENDS = ("estimate", "low", "high")
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}


def commands() -> list[str]:
    """Return every `noisylabels ...` line of the documents' shell blocks and of the help texts."""
    found = []
    for text in TEXTS.values():
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            found += [line.split("#")[0].strip() for line in block.splitlines()]
    for cls in VERBS.values():
        found += [line.split(">")[0].strip() for line in (cls.__doc__ or "").splitlines()]
    return sorted({line for line in found if line.startswith("noisylabels ")})


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 12


@pytest.mark.parametrize("command", commands())
def test_a_documented_command_is_understood(command: str) -> None:
    parse(shlex.split(command)[1:])


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("README.md", 3),
        ("docs/audit.md", 1),
        ("docs/choose-epoch.md", 1),
        ("docs/claims-own.md", 1),
        ("docs/coming-from.md", 3),
        ("docs/custom-model.md", 1),
        ("docs/loops.md", 3),
        ("docs/methods.md", 3),
        ("docs/estimator.md", 2),
        ("docs/models.md", 1),
        ("docs/noise.md", 1),
        ("docs/noise-rate.md", 1),
        ("docs/paper-sections.md", 2),
        ("docs/published.md", 1),
        ("docs/report.md", 1),
        ("docs/select-examples.md", 2),
        ("docs/study.md", 1),
        ("docs/study-own-loss.md", 1),
        ("docs/texts.md", 1),
    ],
)
def test_the_code_of_a_document_runs(name: str, number: int) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXTS[name], re.DOTALL)
    assert len(blocks) == number
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)


def test_the_audit_of_given_probabilities_prints_what_the_page_says() -> None:
    text = TEXTS["docs/audit.md"]
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block.partition("\nX = ")[0], "docs/audit.md", "exec"), names)
    found = names["found"]
    assert f"# {found.order[0]}, {found.flagged.sum()}, {found.why[1]!r}" in text


def test_the_figures_beside_cleanlab_are_those_of_the_code() -> None:
    """What docs/coming-from.md says of its example; cleanlab's part where it is installed."""
    text = TEXTS["docs/coming-from.md"]
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/coming-from.md", "exec"), names)
    found, wrong = names["found"], names["labels"] != names["true"]
    assert names["ours"] == pytest.approx(names["theirs"])
    rate = {key: round(100 * value, 1) for key, value in found.summary["rate"].items() if key in ENDS}
    flagged, right = found.flagged.sum(), round(100 * wrong[found.flagged].mean())
    assert f"{wrong.sum()} labels are wrong" in text
    assert f"flags {flagged}, {right} % of them wrong, and estimates a rate of {rate['estimate']} %" in text
    assert f"({rate['low']} to {rate['high']};\nthe truth is {100 * wrong.mean():.1f})" in text
    if importlib.util.find_spec("cleanlab") is None:
        pytest.skip("cleanlab is not installed: pip install cleanlab==2.9.0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (block,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
        exec(compile(block, "docs/coming-from.md", "exec"), names)
    np.testing.assert_allclose(names["scores"], names["same_scores"], atol=1e-14)
    issues = names["issues"]
    right = round(100 * wrong[issues].mean())
    assert f"cleanlab flags {len(issues)}, {right} % of them wrong" in text


def test_the_limits_say_how_much_of_the_study_is_done() -> None:
    text = TEXTS["docs/limits.md"]
    for name in ("paper", "ma2020"):
        cells = load_study(name).cells()
        file = ROOT / "results" / name / "runs.parquet"  # on the copy of CIFAR-10, so under other ids
        done = read_rows(file) if file.exists() else []
        assert f"{len(done)} of {len(cells)} cells" in text
        if name == "paper":
            seconds = [sum(row["train_seconds"] for row in run["history"]) for run in done]
            losses, noises = ({run["config"][axis] for run in done} for axis in ("loss", "noise"))
            assert f": {len(losses)} losses, one noise, one seed" in text
            assert len(noises) == len({run["config"]["seed"] for run in done}) == 1
            assert 0.9 < sum(seconds) / len(seconds) / 186 < 1.1  # without evaluation


@pytest.mark.parametrize(
    "line", re.findall(r"`((?:torchrun [^`]* -m )?noisylabels [^`]+)`", TEXTS["docs/limits.md"])
)
def test_a_command_of_the_limits_is_understood(line: str) -> None:
    parse(shlex.split(line[line.index("noisylabels ") :])[1:])


@pytest.mark.slow
def test_the_loss_of_ones_own_goes_into_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files and commands of docs/study-own-loss.md, with fewer epochs and in this process."""
    section = TEXTS["docs/study-own-loss.md"]
    for kind, name in (("python", "mine.py"), ("toml", "mine.toml")):
        (block,) = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
        assert block.startswith(f"# {name}\n")
        (tmp_path / name).write_text(block, encoding="utf-8")
    source = str(Path(noisylabels.__file__).parents[1])
    monkeypatch.chdir(tmp_path)

    def words_of(line: str) -> list[str]:
        words = shlex.split(line, comments=True)[1:]
        few = {
            "train": ["--epochs", "1", "--device", "cpu"],
            "study run": ["--set", "epochs=1", "device=cpu"],
        }
        return words + next((more for verb, more in few.items() if " ".join(words).startswith(verb)), [])

    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    block = block.replace("--jobs 2", "--jobs 0")
    for line in block.splitlines():
        assert main(words_of(line)) == 0, line
    rows = read_rows(tmp_path / "mine.parquet")
    assert len(rows) == 4 * 2 * 3
    assert {row["status"] for row in rows} == {"done"}
    assert (tmp_path / "mine.svg").exists()
    # with another mine.py nothing is taken for done
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text(encoding="utf-8") + "\n")
    for line in block.splitlines()[1:3]:  # by a process that has not imported the first one
        done = warm_process.run(
            ["-m", "noisylabels", *words_of(line)], env=os.environ | {"PYTHONPATH": source}
        )
        assert done.returncode == 2
        assert re.fullmatch(
            r"noisylabels: mine.py has changed since the run in .*; restore it.*\n", done.stderr
        )


TABLES = {
    "digits": "docs/measured-digits.md",
    "dynamics": "docs/dynamics.md",
    "digits-composites": "docs/measured-digits.md",
    "digits-8": "docs/measured-digits.md",
    "frozen": "docs/measured-frozen.md",
    "noise": "docs/measured-noise.md",
    "weights": "docs/measured-weights.md",
    "weights-digits": "docs/measured-weights.md",
    "weights-fashion": "docs/measured-weights.md",
    "weights-frozen": "docs/measured-weights.md",
    "weights-frozen-all": "docs/measured-weights.md",
    "weights-hundred": "docs/measured-weights.md",
}

MEASURED = {
    "audit": "docs/measured-audit.md",
    "calibration": "docs/measured-features.md",
    "campaign": "docs/measured-campaign.md",
    "clean": "docs/measured-clean-accuracy.md",
    "costs": "docs/methods/README.md",
    "data": "docs/measured-speed-data.md",
    "default": "docs/measured-default-loss.md",
    "duplicates": "docs/measured-audit.md",
    "dynamics": "docs/record-dynamics.md",
    "equal": "docs/measured-speed-training.md",
    "estimate": "docs/measured-noise-estimates.md",
    "features": "docs/measured-features.md",
    "given": "docs/measured-audit.md",
    "judges": "docs/measured-audit.md",
    "label": "docs/measured-label-errors.md",
    "linear": "docs/measured-speed-losses.md",
    "losses": "docs/measured-speed-losses.md",
    "memory": "docs/measured-speed-data.md",
    "review": "docs/measured-speed-data.md",
    "shards": "docs/measured-speed-data.md",
    "rates": "docs/measured-noise-rates.md",
    "realized": "docs/measured-digits.md",
    "ranks": "docs/many-gpus.md",
    "rows": "docs/measured-speed-training.md",
    "start": "docs/measured-speed-training.md",
    "step": "docs/measured-speed-training.md",
    "store": "docs/measured-speed-data.md",
    "cluster": "docs/study-cluster.md",
    "executors": "docs/study-cluster.md",
    "tables": "docs/measured-estimator.md",
    "texts": "docs/measured-texts.md",
    "sums": "docs/large-data.md",
    "walk": "docs/measured-walk.md",
    "weights": "docs/measured-weights.md",
}
"""The page that shows the table of each benchmark, by the first word of its file name."""


def test_the_tables_of_the_documents_are_those_of_the_results() -> None:
    tables = {path.parent.name: path for path in (ROOT / "results").glob("*/table.md")}
    assert tables.keys() == TABLES.keys()
    for name, document in TABLES.items():
        assert tables[name].read_text(encoding="utf-8") in TEXTS[document], f"{document} lacks {name}"
    measured = list((ROOT / "results" / "benchmarks").glob("*.md"))
    assert measured
    for path in measured:
        home = MEASURED[re.split("[-.]", path.name)[0]]
        shown = (ROOT / home).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") in shown, f"{home} lacks {path.name}"


def test_the_tables_of_the_study_are_made_of_its_runs() -> None:
    folder = ROOT / "results" / "digits-study"
    (results,) = read_results([folder / "runs.parquet"])
    tables = {table.name: markdown(table) for table in accuracies(results)}
    assert tables.keys() == {"accuracy-symmetric", "accuracy-asymmetric"}
    for name, text in tables.items():
        assert (folder / f"{name}.md").read_text(encoding="utf-8") == text
        assert text.rstrip() in TEXTS["docs/measured-digits-demo.md"]


def test_every_kind_of_noise_and_every_map_is_documented() -> None:
    for kind in set(KINDS) - {"none"}:
        assert f"`{kind}:" in TEXTS["docs/noise.md"]
    for name in MAPS:
        assert f"| `{name}`" in TEXTS["docs/noise.md"]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]):
        if "://" not in target:
            assert (ROOT / name).parent.joinpath(target).exists(), target


def test_the_table_of_rooms_is_complete() -> None:
    rooms = {p.name for p in (ROOT / "src" / "noisylabels").iterdir() if p.is_dir()} - {
        "__pycache__",
        "recipes",
    }
    assert rooms <= set(re.findall(r"\w+", TEXTS["CONTRIBUTING.md"]))


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_every_page_is_listed_under_its_kind() -> None:
    index = TEXTS["docs/README.md"]
    listed = re.findall(r"\]\(([\w-]+\.md)\)", index)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)  # each once


def test_the_example_runs_and_shows_the_difference() -> None:
    program = "import runpy; module = runpy.run_path('examples/two_losses.py'); module['main'](epochs=12)"
    shown = warm_process.run(["-c", program], cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    last = [line for line in shown.stdout.splitlines() if re.match(r" *12 .*%$", line)]
    assert len(last) == 2
    (_, ce), (_, apl) = (map(float, re.findall(r"([\d.]+)%", line)) for line in last)
    assert ce > apl  # cross entropy has learned more of the wrong labels by heart
