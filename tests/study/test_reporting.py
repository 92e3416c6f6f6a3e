"""Reports: every file there and readable, numbers as computed here, and nothing run that runs name."""

from __future__ import annotations

import csv
import html
import inspect
import itertools
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.losses import PAPER, register, unregister
from noisylabels.losses.user_loss import spelled
from noisylabels.study import figures as study_figures
from noisylabels.study.claims import Claim, load_claims
from noisylabels.study.looks import loss_theme
from noisylabels.study.reporting import write_report
from noisylabels.study.results import Results, read_results, split

# A trained study, all files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(small_study, tmp_path_factory):
    """The trained study and, beside it, a run of mae that could not begin."""
    folder = shutil.copytree(small_study, tmp_path_factory.mktemp("with-failure") / "small")
    config = json.loads(next(folder.glob("ce-none-seed1-*/config.json")).read_text())
    (folder / "mae-none").mkdir()
    failure = {"run_id": "f" * 12, "message": "no room <at> all", "config": config | {"loss": "mae"}}
    (folder / "mae-none" / "failure.json").write_text(json.dumps(failure))
    return folder


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "deep" / "report"
    told = []
    path = write_report(read_results([study]), out, progress=lambda done, total: told.append((done, total)))
    assert path == out / "index.html"
    assert told == [(k, 10) for k in range(1, 11)]
    return out


FIGURES = [
    *("chosen-symmetric", "classes-symmetric", "curves-clean", "curves-symmetric-0.4", "heatmap-symmetric"),
    *("memorized-symmetric", "ranks", "rates-symmetric", "seconds-symmetric", "spread-symmetric"),
]
TABLES = ["accuracy-symmetric", "against-ce-symmetric", "failed", "measures-symmetric", "settings"]


def test_every_file_is_there_and_no_other(report):
    found = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    assert found == {
        "index.html",
        *(f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png", "pdf")),
        *(f"tables/{name}.{suffix}" for name in TABLES for suffix in ("md", "tex", "csv")),
    }
    assert all(path.stat().st_size > 40 for path in report.rglob("*") if path.is_file())


def written(svg: Path) -> list[str]:
    """Return the texts of a picture."""
    elements = ElementTree.parse(svg).getroot().iter()
    return ["".join(element.itertext()) for element in elements if element.tag.endswith("text")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_opens_and_says_what_it_shows(report, name):
    path = report / "figures" / name
    texts = written(path.with_name(f"{name}.svg"))
    whole = " ".join(texts)
    assert re.search(r"\bn = 2\b", whole)
    assert "undefined" not in whole
    assert "NaN" not in whole
    assert re.search(r"accuracy|seconds|share|deviation|rank", whole, re.IGNORECASE)
    for loss in ("ce", "nce", "nce+mae"):
        assert any(re.fullmatch(rf"(\d\.\d\d  )?{re.escape(loss)}(  \d\.\d\d)?", text) for text in texts), (
            loss
        )
    with Image.open(path.with_name(f"{name}.png")) as image:
        image.load()
        assert image.format == "PNG"
        assert 400 < image.width <= 2001
        colors = image.convert("RGB").getcolors(1 << 22)
        assert len(colors) > 10  # it is not blank
    pdf = path.with_name(f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")


def table(report: Path, name: str) -> list[dict[str, str]]:
    with (report / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


T1 = 12.706204736432095  # Student's t, 97.5 %, one degree of freedom


def test_the_accuracies_are_those_of_the_runs(study, report):
    rows = {row["loss"]: row for row in table(report, "accuracy-symmetric")}
    assert list(rows) == ["ce", "nce", "nce+mae"]  # mae has no run
    seen = 0
    for loss, (label, noise) in itertools.product(rows, (("clean", "none"), ("0.4", "symmetric_0.4"))):
        files = [study.glob(f"{loss}-{noise}-seed{seed}-*/result.json") for seed in (1, 2)]
        first, second = (100 * json.loads(next(f).read_text())["final"]["test_accuracy"] for f in files)
        mean, deviation = (first + second) / 2, abs(first - second) / 2**0.5
        half = T1 * deviation / 2**0.5
        found = [float(rows[loss][f"{label} {part}"]) for part in ("mean", "sd", "low", "high", "n")]
        assert found == pytest.approx([mean, deviation, mean - half, mean + half, 2])
        assert f"{mean:.2f} ± {deviation:.2f}" in (report / "tables/accuracy-symmetric.md").read_text()
        seen += 1
    assert seen == 6


def test_the_differences_are_taken_seed_by_seed(study, report):
    rows = {row["loss"]: row for row in table(report, "against-ce-symmetric")}
    assert list(rows) == ["nce", "nce+mae"]
    for loss in rows:
        each = []
        for seed in (1, 2):
            ours, ce = (
                json.loads(next(study.glob(f"{name}-symmetric_0.4-seed{seed}-*/result.json")).read_text())
                for name in (loss, "ce")
            )
            assert ours["noise"]["digest"] == ce["noise"]["digest"]  # the same labels
            each.append(100 * (ours["final"]["test_accuracy"] - ce["final"]["test_accuracy"]))
        assert float(rows[loss]["0.4 mean"]) == pytest.approx(np.mean(each))
        assert float(rows[loss]["0.4 sd"]) == pytest.approx(np.std(each, ddof=1))


def test_every_measure_of_the_hardest_noise(study, report):
    rows = {row["loss"]: row for row in table(report, "measures-symmetric")}
    lines = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(study.glob("ce-symmetric_0.4-seed?-*/history.jsonl"))
    ]
    chosen = [max(run, key=lambda row: row["validation_accuracy"])["test_accuracy"] for run in lines]
    wanted = {
        "test accuracy (%)": np.mean([100 * run[-1]["test_accuracy"] for run in lines]),
        "accuracy at chosen epoch (%)": 100 * np.mean(chosen),
        "overfitting gap (points)": np.mean(
            [100 * (run[-1]["given_accuracy"] - run[-1]["test_accuracy"]) for run in lines]
        ),
        "SD over last 10 epochs (points)": np.mean(
            [100 * abs(run[0]["test_accuracy"] - run[1]["test_accuracy"]) / 2**0.5 for run in lines]
        ),
        "memorized noisy labels (%)": np.mean([100 * run[-1]["memorized"] for run in lines]),
        "dead classes": np.mean([sum(share <= 0.01 for share in run[-1]["recall"]) for run in lines]),
        "time per epoch (s)": np.mean([row["train_seconds"] for run in lines for row in run]),
    }
    assert {name.removesuffix(" mean") for name in rows["ce"] if name.endswith(" mean")} == wanted.keys()
    for name, value in wanted.items():
        assert float(rows["ce"][f"{name} mean"]) == pytest.approx(value), name


def test_a_failed_run_is_listed_and_counts_nowhere(report):
    (row,) = table(report, "failed")
    assert row == {"loss": "mae", "noise": "clean", "seed": "1", "reason": "no room <at> all"}
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "<dd>12 done, 1 failed</dd>" in page
    assert "no room &lt;at&gt; all" in page
    assert "no room <at> all" not in page


def test_the_settings_are_told(report):
    rows = {row["setting"]: row["value"] for row in table(report, "settings")}
    assert (rows["epochs"], rows["validation"], rows["lr"], rows["seeds"]) == ("2", "0.1", "0.05", "1, 2")
    assert "machine" in rows
    assert rows["software"].startswith("noisylabels ")


def test_the_page_holds_the_tables_and_names_what_was_run(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "<title>digits, mlp, 2 epochs, width 0.1</title>" in page
    for name in TABLES:
        assert f'id="{name}"' in page
    for name in FIGURES:
        assert f'id="{name}"' in page
    outside = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert set(re.findall(r"""(?:src|href)="(#|data:|[^"]*)""", outside)) == {"#", "data:"}
    ids = re.findall(r'<(?:figure|section|form)[^>]* id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 20
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_a_second_report_over_the_first(study, report, tmp_path):
    out = shutil.copytree(report, tmp_path / "report")
    before = {path for path in out.rglob("*") if path.is_file()}
    (results,) = read_results([study])
    fewer = Results([run for run in results.runs if run.seed == 1])
    write_report([fewer], out, formats=(".svg",))
    assert {path for path in out.rglob("*") if path.is_file()} == before  # nothing temporary is left
    assert table(out, "accuracy-symmetric")[0]["clean n"] == "1"
    assert "n = 1" in " ".join(written(out / "figures" / "spread-symmetric.svg"))


# Made-up runs ---------------------------------------------------------------------------------------

NOISES = ["none", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.2", "asymmetric:0.4"]
HUMAN = ["human:a/CIFAR-10_human.pt@worse", "labels:b/x.csv", "labels:c/x.csv", "longtail:0.1"]


@pytest.fixture(scope="module")
def made_up(made_run):
    """Every loss of the paper under noises of every family, two seeds each, with validation."""
    runs = [
        made_run(loss, noise, seed, validation=0.1)
        for loss in PAPER
        for noise in (*NOISES, *HUMAN)
        for seed in (1, 2)
    ]
    (results,) = split(runs)
    return results


def kinds():
    """Every function that makes figures of results."""
    return [
        function
        for function in vars(study_figures).values()
        if inspect.isfunction(function)
        and function.__module__ == study_figures.__name__
        and list(inspect.signature(function).parameters) == ["results", "theme"]
    ]


def scales(spec, channel):
    """Yield name -> look of every scale of a channel that is over losses."""
    if isinstance(spec, dict):
        found = spec.get(channel)
        if isinstance(found, dict) and found.get("field") == "loss":
            yield dict(zip(found["scale"]["domain"], map(str, found["scale"]["range"]), strict=True))
        for value in spec.values():
            yield from scales(value, channel)
    elif isinstance(spec, list):
        for value in spec:
            yield from scales(value, channel)


@pytest.fixture(scope="module")
def figures(made_up):
    return [figure for kind in kinds() for figure in kind(made_up, loss_theme(made_up.losses))]


def test_one_look_a_loss_in_all_figures(figures):
    assert len(kinds()) == 9
    assert len(figures) > 20
    seen: dict[str, dict[str, set[str]]] = {"color": {}, "strokeDash": {}, "shape": {}}
    for figure, (channel, by_loss) in itertools.product(figures, seen.items()):
        for panel in figure.panels:
            for mapping in [*scales(panel.for_file(True), channel), *scales(panel.for_page(), channel)]:
                for loss, look in mapping.items():
                    by_loss.setdefault(loss, set()).add(look)
    for by_loss in seen.values():
        assert by_loss.keys() == set(PAPER)
        assert all(len(different) == 1 for different in by_loss.values())
    assert len({next(iter(colors)) for colors in seen["color"].values()}) == 12


def test_every_figure_tells_n_and_has_a_name_of_its_own(figures):
    for figure in figures:
        assert re.search(r"n = 2\b", figure.caption), figure.name
        assert "  " not in figure.caption
        assert figure.caption.endswith(".")
        assert figure.panels
        assert re.fullmatch(r"[A-Za-z0-9.-]+", figure.name)


def test_the_numbers_in_a_figure_are_those_of_the_runs(made_up):
    (figure, *_) = study_figures.against_rate(made_up, loss_theme(made_up.losses))
    rows = {(row["loss"], row["x"]): row for row in figure.panels[0].rows}
    assert len(rows) == 12 * 3
    for (loss, rate), row in rows.items():
        noise = "none" if not rate else f"symmetric:{rate}"
        values = [
            run.curves["test_accuracy"][-1] for run in made_up.runs if (run.loss, run.noise) == (loss, noise)
        ]
        assert len(values) == 2
        mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
        assert (row["y"], row["low"], row["high"]) == pytest.approx(
            (mean, mean - deviation, mean + deviation)
        )


def test_a_report_of_every_family(made_up, tmp_path):
    write_report([made_up], tmp_path, formats=())
    assert not (tmp_path / "figures").exists()
    names = {path.stem for path in (tmp_path / "tables").glob("*.csv")}
    families = ("symmetric", "asymmetric", "others")
    assert {
        f"{kind}-{family}" for kind in ("accuracy", "measures", "against-ce") for family in families
    } <= names
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    # two files of one name are two figures and two columns
    assert {'id="curves-labels-x.csv"', 'id="curves-labels-x.csv-2"'} <= set(re.findall(r'id="[^"]+"', page))
    columns = {
        name.removesuffix(" mean") for name in table(tmp_path, "accuracy-others")[0] if name.endswith("mean")
    }
    assert columns == {"clean", "human:CIFAR-10_human.pt@worse", *HUMAN[1:]}
    assert "claims" not in names
    text = (tmp_path / "tables/accuracy-symmetric.md").read_text()
    assert text.startswith("**Final test accuracy under symmetric noise**")


def test_the_two_best_of_a_column_are_bold_ties_too(made_run, tmp_path):
    last = {"ce": 0.9, "mae": 0.8, "nce": 0.80000001, "rce": 0.1}
    runs = [made_run(loss, epochs=1, curves={"test_accuracy": [value]}) for loss, value in last.items()]
    write_report([Results(runs)], tmp_path, formats=())
    text = (tmp_path / "tables" / "accuracy-symmetric.md").read_text()
    assert re.findall(r"\*\*([\d.]+)\*\*", text) == ["90.00", "80.00", "80.00"]
    assert "| 10.00 |" in text


def test_columns_added_to_some_histories_are_in_the_table_of_measures(made_run, tmp_path):
    """`margin` is in two of three runs of ce and in none of mae; `never` is unknown at the last epoch."""
    runs = [made_run(loss, seed=seed, epochs=2) for loss in ("ce", "mae") for seed in (1, 2)]
    margins = {3: [0.9, 0.0123], 4: [0.8, 0.0321]}
    runs += [
        made_run("ce", seed=seed, epochs=2, curves={"margin": values, "never": [1, np.nan]})
        for seed, values in margins.items()
    ]
    runs += [made_run("ce", "symmetric:0.2", 1, epochs=2, curves={"elsewhere": [1, 2]})]
    write_report([Results(runs)], tmp_path, formats=())
    rows = {row["loss"]: row for row in table(tmp_path, "measures-symmetric")}
    last = [values[-1] for values in margins.values()]
    assert float(rows["ce"]["margin mean"]) == pytest.approx(np.mean(last))
    assert float(rows["ce"]["margin sd"]) == pytest.approx(np.std(last, ddof=1))
    assert rows["ce"]["margin n"] == "2"
    assert rows["mae"]["margin mean"] == ""
    assert rows["ce"]["test accuracy (%) n"] == "4"
    assert not [name for name in rows["ce"] if name.startswith(("never", "elsewhere"))]
    text = (tmp_path / "tables" / "measures-symmetric.md").read_text()
    assert "0.02220 ± 0.01400" in text  # four significant digits
    assert "Added to the history by a method or callback: margin, over the runs with a value" in text
    assert "Added to the history" in (tmp_path / "index.html").read_text()


def test_one_run_of_one_seed_has_no_spread(made_run, tmp_path):
    write_report([Results([made_run("ce", "symmetric:0.4", 7)])], tmp_path, formats=(".svg",))
    (row,) = table(tmp_path, "accuracy-symmetric")
    assert [row[f"0.4 {part}"] for part in ("sd", "low", "high", "n")] == ["", "", "", "1"]
    (line,) = [
        line
        for line in (tmp_path / "tables/accuracy-symmetric.md").read_text().splitlines()
        if "| ce" in line
    ]
    assert "±" not in line
    assert not (tmp_path / "tables" / "against-ce-symmetric.csv").exists()  # against itself
    assert not (tmp_path / "figures" / "ranks.svg").exists()  # of one loss
    for path in (tmp_path / "figures").iterdir():
        assert "NaN" not in path.read_text()


def test_a_report_of_failures_alone(made_run, tmp_path):
    runs = [made_run(loss, status="failed") for loss in ("ce", "mae")]
    write_report([Results(runs)], tmp_path, formats=(".svg",))
    assert [row["loss"] for row in table(tmp_path, "failed")] == ["ce", "mae"]
    assert not (tmp_path / "figures").exists()
    assert "<dd>0 done, 2 failed</dd>" in (tmp_path / "index.html").read_text()


def test_two_data_sets_in_one_report(made_run, tmp_path):
    runs = [
        made_run(loss, "symmetric:0.4", seed, data=data, classes=classes, validation=0.1)
        for data, classes in (("digits", 10), ("photos", 3))
        for loss in ("ce", "mae")
        for seed in (1, 2)
    ]
    results = split(runs)
    assert [each.data for each in results] == ["digits", "photos"]
    write_report(results, tmp_path, formats=(".svg",))
    for kind in ("figures", "tables"):
        names = [path.name for path in (tmp_path / kind).iterdir()]
        first, second = ({n[2:] for n in names if n.startswith(prefix)} for prefix in ("1-", "2-"))
        assert first == second
        assert len(first) + len(second) == len(names) > 10
    for number, data in enumerate(("digits", "photos"), 1):
        for row in table(tmp_path, f"{number}-accuracy-symmetric"):
            mine = [run for run in runs if (run.loss, run.config["data"]) == (row["loss"], data)]
            mean = np.mean([100 * run.curves["test_accuracy"][-1] for run in mine])
            assert float(row["0.4 mean"]) == pytest.approx(mean)
            assert row["0.4 n"] == "2"
    page = (tmp_path / "index.html").read_text()
    title = "2 sets of runs: digits, small-cnn, 4 epochs; photos, small-cnn, 4 epochs"
    assert f"<title>{title}</title>" in page
    assert "photos, small-cnn, 4 epochs: Learning curves</h2>" in page
    ids = re.findall(r'<(?:figure|section)[^>]* id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_folders_of_one_name_with_other_classes(made_run, tmp_path):
    """Both are called photos; the classes of the second are not drawn into the first's."""
    runs = [made_run("ce", seed=1, data="a/photos"), made_run("ce", seed=2, data="b/photos", classes=5)]
    (results,) = split(runs)
    (figure,) = study_figures.per_class(results, loss_theme(["ce"]))
    assert {row["column"] for row in figure.panels[0].rows} == {"class 0", "class 1", "class 2"}
    assert all("of 1 runs" in row["reading"] for row in figure.panels[0].rows)
    write_report([results], tmp_path, formats=())


def test_long_noises_have_files_too(made_run, tmp_path):
    noises = [f"asymmetric:0.4@{','.join(f'{k}to{k + 1}' for k in range(first, 60))}" for first in (0, 1)]
    write_report([Results([made_run("ce", noise) for noise in noises])], tmp_path, formats=(".svg",))
    names = [path.name for path in (tmp_path / "figures").iterdir()]
    assert len([name for name in names if name.startswith("curves-")]) == 2
    assert max(map(len, names)) < 120


# Strangers' runs ------------------------------------------------------------------------------------

MARKING = "from pathlib import Path\nPath({marker!r}).touch()\ndef f(l): return -l\n"


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A folder with code that leaves a mark when it is run, as the current one."""
    marker = tmp_path / "was-run"
    for name in ("mine.py", "my losses.py"):
        (tmp_path / name).write_text(MARKING.format(marker=str(marker)))
    monkeypatch.chdir(tmp_path)
    return marker


@pytest.mark.parametrize("place", ["mine.py", "mine", "absolute", "my losses.py"])
def test_code_that_runs_name_is_not_run(made_run, strange, tmp_path, place):
    spec = spelled(f"{tmp_path / 'mine.py' if place == 'absolute' else place}:f")
    losses = [spec, f"normalize({spec})", f"nce+{spec}", f"logit_clip({spec})", "ce", "nce", "mae"]
    runs = [
        made_run(loss, noise, seed)
        for loss in losses
        for noise in ("none", "symmetric:0.4")
        for seed in (1, 2)
    ]
    write_report([Results(runs)], tmp_path / "report", formats=())
    assert not strange.exists()
    assert [row["loss"] for row in table(tmp_path / "report", "accuracy-symmetric")][:3] == [
        "ce",
        "mae",
        "nce",
    ]
    assert len(table(tmp_path / "report", "accuracy-symmetric")) == 7
    noisylabels.loss(losses[0])
    assert strange.exists()  # it would have been seen


def test_code_that_a_folder_names_is_not_run(small_study, strange, tmp_path, capsys):
    folder = shutil.copytree(next(small_study.glob("ce-none-seed1-*")), tmp_path / "runs" / "one")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"loss": "mine.py:f", "model": "mine.py:f"}))
    assert main(["report", str(tmp_path / "runs"), "--formats"]) == 0
    assert not strange.exists()
    assert "mine.py:f" in (tmp_path / "runs-report" / "index.html").read_text()
    capsys.readouterr()


def test_losses_that_somebody_registered(made_run, tmp_path):
    """In a script that is not here: their names say nothing, and they are drawn all the same."""
    register("squared", lambda l: (1 - l.exp()) ** 2, title="t", equation="e", source="s", use="u")
    unregister("squared")
    runs = [
        made_run(loss, seed=seed) for loss in ("squared", "a.b[c]", "nsquared + ce", "") for seed in (1, 2)
    ]
    results = Results(runs)
    write_report([results], tmp_path, formats=(".svg",))
    assert [row["loss"] for row in table(tmp_path, "accuracy-symmetric")] == [run.loss for run in runs[::2]]
    assert "squared" in written(tmp_path / "figures" / "curves-symmetric-0.4.svg")


# What can go wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["altair", "vl_convert", "jinja2"])
def test_missing_packages_are_named(made_run, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)  # as if it was not installed
    with pytest.raises(InputError, match=r"pip install 'noisylabels\[report\]'"):
        write_report([Results([made_run("ce")])], tmp_path / "report", formats=())
    assert not (tmp_path / "report" / "index.html").exists()


@pytest.fixture
def refused(capsys):
    """Return a check that a command ends with code 2 and one line."""

    def check(arguments: list[str], *words: str) -> None:
        assert main(["report", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("noisylabels: ")
        assert err.count("\n") == 1
        for word in words:
            assert word in err

    return check


def test_errors_of_the_command(refused, tmp_path, study):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.md").write_text("# no runs")
    (tmp_path / "file").write_text("")
    runs = str(study)
    refused([], "nothing to report on; give a folder of runs")
    refused([str(tmp_path / "nowhere")], "there is no file", "nowhere")
    refused([str(tmp_path / "empty")], "holds no finished run")
    refused([str(tmp_path / "text.md")], "text.md cannot be read as Parquet")
    refused([runs, "--ouf", "x"], "--ouf", "'--out'")
    refused([runs, "--formats", "gif"], "gif", "svg")
    refused([runs, "--claims", str(tmp_path / "no.py")], "the claims file", "does not exist")
    refused(
        [runs, "--out", str(tmp_path / "file" / "deep"), "--formats"],
        "cannot write the report to",
        "file/deep",
    )
    refused([runs, "--out", str(tmp_path / "file"), "--formats"], "cannot write the report to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "text.md"]


def test_where_a_report_goes(study, tmp_path, monkeypatch, capsys):
    runs = shutil.copytree(study, tmp_path / "study-0.4")
    assert main(["report", str(runs), "--formats"]) == 0
    assert (tmp_path / "study-0.4-report" / "index.html").exists()
    shown = capsys.readouterr().out
    assert "digits, mlp, 2 epochs, width 0.1: 12 runs, 1 failed\n" in shown
    assert f"page: {tmp_path / 'study-0.4-report' / 'index.html'}\n" in shown
    assert "figures" not in shown
    shutil.rmtree(tmp_path / "study-0.4-report")
    monkeypatch.chdir(runs)
    assert main(["report", ".", "--formats"]) == 0  # a folder without a name
    assert (tmp_path / "study-0.4-report" / "index.html").exists()
    monkeypatch.chdir(tmp_path)
    assert main(["report", "study-0.4", "study-0.4/", "--out", "mine", "--formats"]) == 0
    assert (tmp_path / "mine" / "index.html").exists()
    assert main(["study", "export", "study-0.4", "--file", "all.parquet"]) == 0
    assert main(["report", "all.parquet", "--formats"]) == 0
    assert (tmp_path / "all-report" / "index.html").exists()
    capsys.readouterr()


def test_claims_of_ones_own_stand_with_the_papers(study, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from noisylabels.study.claims import claim, more\n"
        "from noisylabels.study.results import accuracy\n\n"
        "@claim('ce-is-best', 'CE is above NCE on <clean> labels.')\n"
        "def mine(results):\n"
        "    return [more(accuracy, 'ce', 'nce', 'none')]\n"
    )
    (mine,) = load_claims(tmp_path / "mine.py")
    assert isinstance(mine, Claim)
    out = tmp_path / "report"
    assert (
        main(["report", str(study), "--out", str(out), "--claims", str(tmp_path / "mine.py"), "--formats"])
        == 0
    )
    capsys.readouterr()
    rows = table(out, "claims")
    (own,) = [row for row in rows if row["section"] == "own"]
    assert own["claim"] == "ce-is-best: CE is above NCE on <clean> labels."
    assert own["verdict"] in ("supported", "undecided")
    assert html.escape(own["claim"]) in (out / "index.html").read_text()
    assert len(rows) > 40
