"""Figures of recorded dynamics and of sweeps, from trained runs and from made-up ones."""

from __future__ import annotations

import json
import re
import shutil

import jsonschema
import numpy as np
import pytest

from noisylabels.experiment import load_config, run
from noisylabels.study import dynamics
from noisylabels.study.exports import export
from noisylabels.study.looks import loss_theme
from noisylabels.study.recordings import Recording, by_epoch, by_key, learned_by_epoch, recordings
from noisylabels.study.reporting import study_sections, write_report
from noisylabels.study.results import read_results, split
from noisylabels.study.store import read_rows
from noisylabels.study.sweeps import learning_rates
from noisylabels.training.dynamics import FILE, read_dynamics, read_examples
from noisylabels.training.dynamics.recording import write_recording
from noisylabels.training.dynamics.sums import Entry

NOISE = "symmetric:0.6@exact"
EPOCHS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two losses and two seeds, recorded, and one run that was not."""
    root = tmp_path_factory.mktemp("recorded")
    how = {"model": "mlp", "width": 0.2, "epochs": EPOCHS, "batch_size": 128, "device": "cpu", "noise": NOISE}
    for loss in ("ce", "nmae"):
        for seed in (1, 2):
            record = "dynamics(stride=3,sharpness_epochs=2)"
            run(
                load_config(
                    "digits", loss=loss, seed=seed, record=record, out=str(root / f"{loss}{seed}"), **how
                )
            )
    run(load_config("digits", loss="mae", seed=1, out=str(root / "mae"), **how))
    return root


@pytest.fixture(scope="module")
def results(folder):
    (found,) = read_results([folder])
    return found


@pytest.fixture(scope="module")
def figures(results):
    theme = loss_theme(results.losses)
    return {figure.name: figure for kind in dynamics.FIGURES for figure in kind(results, theme)}


def test_every_figure_of_recorded_runs(figures):
    kinds = {re.fullmatch(r"dynamics-([a-z]+)-symmetric-0.6-exact", name)[1] for name in figures}
    assert kinds == {"gradients", "bins", "learning", "confidence", "dead", "slices", "layers"}
    for figure in figures.values():
        assert re.search(r"n = 2\.$", figure.caption), figure.caption
        assert {row["loss"] for panel in figure.panels for row in panel.rows} == {"ce", "nmae"}


def panel(figures, kind, title):
    (found,) = [
        each for each in figures[f"dynamics-{kind}-symmetric-0.6-exact"].panels if each.title == title
    ]
    return {(row["loss"], row["x"]): row for row in found.rows}


def test_a_panel_by_epoch_shows_the_mean_of_the_histories(figures, folder):
    rows = panel(figures, "gradients", "noisy labels' share of the gradient, logits")
    histories = [
        [json.loads(line) for line in (folder / f"ce{seed}" / "history.jsonl").read_text().splitlines()]
        for seed in (1, 2)
    ]
    for epoch in range(EPOCHS):
        values = [history[epoch]["noisy_logit_share"] for history in histories]
        row = rows["ce", epoch + 1]
        assert row["y"] == pytest.approx(np.mean(values))
        assert row["high"] - row["y"] == pytest.approx(np.std(values, ddof=1))
    assert {x for loss, x in panel(figures, "gradients", "sharpness, given labels") if loss == "ce"} == {2, 4}


def test_the_shares_learned_are_those_of_the_examples(figures, folder):
    rows = panel(figures, "learning", "noisy labels memorized so far")
    for epoch in range(1, EPOCHS + 1):
        shares = []
        for seed in (1, 2):
            table = read_examples(folder / f"ce{seed}")
            first = table["learned"][table["noisy"]]
            shares.append(((first > 0) & (first <= epoch)).mean())
        assert rows["ce", epoch]["y"] == pytest.approx(np.mean(shares))


def test_the_bins_average_over_the_epochs_and_stand_at_their_centers(figures, folder):
    rows = panel(figures, "bins", "gradient of one example, noisy labels")
    means = []
    for seed in (1, 2):
        table = read_dynamics(folder / f"ce{seed}")
        at = (table["measure"] == "bin_logit_gradient") & (table["part"] == "noisy") & (table["key"] == "0.0")
        means.append(table["value"][at].mean())
    assert rows["ce", 0.05]["y"] == pytest.approx(np.mean(means))


def test_a_slice_is_relative_to_its_center(figures):
    rows = panel(figures, "slices", "given labels")
    assert rows["ce", 0.0]["y"] == rows["nmae", 0.0]["y"] == 1
    assert {x for loss, x in rows} == {round(-1 + 0.2 * k, 6) + 0.0 for k in range(11)}


def test_nmae_moves_less_than_ce_in_each_layer(figures):
    rows = figures["dynamics-layers-symmetric-0.6-exact"].panels[0].rows
    found = {(row["loss"], row["column"]): 10 ** row["value"] for row in rows}
    layers = {column for _, column in found}
    assert len(layers) == 5  # three matrices and two normalizations
    assert all(found["nmae", layer] < found["ce", layer] for layer in layers)


def test_pulls_at_dead_and_at_other_classes(folder, results):
    rows = list(dynamics._pull(recordings(results.cell("nmae", NOISE)), dead=False))
    expected = []
    for seed in (1, 2):
        table = read_dynamics(folder / f"nmae{seed}")
        last = table["epoch"] == EPOCHS
        dead = set(table["key"][(table["measure"] == "dead") & last])
        alive = [str(k) for k in range(10) if str(k) not in dead]
        pull = (table["measure"] == "pull") & last
        net = [table["value"][pull & (table["key"] == k)].sum() for k in alive]
        if net:
            expected.append(np.mean(net))
    assert rows[-1].x == EPOCHS
    assert rows[-1].mean == pytest.approx(np.mean(expected))


def test_pulls_of_which_one_half_is_not_finite_are_left_out(tmp_path):
    entries = [Entry(1, "pull", "own", "0", 3.0), Entry(1, "pull", "own", "1", 5.0)]
    entries += [Entry(1, "pull", "others", "1", -1.0), Entry(2, "pull", "others", "1", -1.0)]
    write_recording(tmp_path, entries, {"position": np.zeros(0, np.int64)})
    assert list(dynamics._pull([Recording(tmp_path)], dead=False)) == [(1.0, 4.0, None)]
    assert list(dynamics._pull([Recording(tmp_path)], dead=True)) == []


def test_figures_are_valid(figures):
    from importlib import resources

    import altair

    path = resources.files(altair) / "vegalite" / "v6" / "schema" / "vega-lite-schema.json"
    schema = json.loads(path.read_text())
    one = figures["dynamics-gradients-symmetric-0.6-exact"]
    jsonschema.Draft7Validator(schema).validate(one.spec())


def test_the_page_has_a_section_and_other_reports_have_none(results, folder, tmp_path, made_run):
    path = write_report([results], tmp_path / "report", formats=())
    assert 'id="dynamics-bins-symmetric-0.6-exact"' in path.read_text(encoding="utf-8")
    (plain,) = split([made_run("ce"), made_run("mae")])
    (section,) = [each for each in study_sections(plain, loss_theme(plain.losses)) if each.name == "dynamics"]
    assert not section.blocks
    assert not section.text


def test_an_exported_file_keeps_what_the_history_has(folder, tmp_path):
    export(read_rows(folder), tmp_path / "runs.parquet")
    (found,) = read_results([tmp_path / "runs.parquet"])
    names = [figure.name for kind in dynamics.FIGURES for figure in kind(found, loss_theme(found.losses))]
    assert names == ["dynamics-gradients-symmetric-0.6-exact"]


def test_a_damaged_recording_is_left_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "ce1" / FILE).write_bytes(b"PAR1")
    (found,) = read_results([tmp_path / "copy"])
    assert len(recordings(found.cell("ce", NOISE))) == 1
    assert len(recordings(found.cell("nmae", NOISE))) == 2


def test_means_leave_out_what_some_runs_lack(folder):
    one, two = Recording(folder / "ce1"), Recording(folder / "ce2")
    assert [point.x for point in by_epoch([one, two], "sharpness", "given")] == [2, 4]
    assert list(by_epoch([one], "nothing", "all")) == []
    assert list(by_key([one], "nothing", "all")) == []
    assert list(learned_by_epoch([one], "nothing", True, EPOCHS)) == []
    (point, *_) = by_epoch([one], "entropy", "clean")
    assert point.deviation is None


# Sweeps --------------------------------------------------------------------------------------------


def test_a_sweep_of_the_learning_rate_has_a_figure_across_its_sets(made_run, tmp_path):
    rates = {0.01: 4e-4, 0.1: 4e-5, 1.0: 4e-6}
    runs = [
        made_run(loss, seed=seed, lr=rate, weight_decay=decay)
        for rate, decay in rates.items()
        for loss in ("ce", "mae")
        for seed in (1, 2)
    ]
    found = split(runs)
    theme = loss_theme(["ce", "mae"])
    ((section),) = learning_rates(found, theme)
    (figure,) = section.blocks
    assert figure.name == "learning-rates-symmetric-0.4"
    assert "n = 2 per rate" in figure.caption
    accuracies = {(row["loss"], row["x"]): row["y"] for row in figure.panels[0].rows}
    assert len(accuracies) == 6
    values = [r.curves["test_accuracy"][-1] for r in runs if r.loss == "mae" and r.config["lr"] == 0.1]
    assert accuracies["mae", 0.1] == pytest.approx(np.mean(values))
    path = write_report(found, tmp_path, formats=())
    assert 'id="learning-rates"' in path.read_text(encoding="utf-8")


def test_sets_that_differ_otherwise_are_no_sweep(made_run):
    theme = loss_theme(["ce"])
    assert learning_rates(split([made_run("ce", lr=0.1)]), theme) == []
    others = split([made_run("ce", lr=0.1, momentum=0.5), made_run("ce", lr=0.2, momentum=0.9)])
    assert len(others) == 2
    assert learning_rates(others, theme) == []
