"""Build the table at the top of docs/found.md: what to take for which data, and the measurement behind it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from found_runs import Runs

from noisylabels.study.results import Results, accuracy, read_results


class Evidence:
    """The measurements that the table quotes.

    Args:
        runs: the exported studies.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def study(self, name: str, model: str = "mlp") -> Results:
        """Return the runs of an exported study with networks of one kind."""
        found = read_results([self.runs.folder / name / "runs.parquet"])
        (results,) = [each for each in found if f" {model}" in each.title]
        return results

    @cached_property
    def features(self) -> Results:
        """Losses, methods and losses inside methods on features of 5,000 photographs."""
        return self.study("hybrids-features")

    def benchmark(self, name: str) -> dict[str, Any]:
        """Return the results of a benchmark."""
        path = self.runs.folder / "benchmarks" / f"{name}.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


def percent(values: Sequence[float]) -> str:
    """Return mean and sample standard deviation in per cent, as in "65.5 ± 0.3"."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def accuracies(results: Results, noise: str, names: Mapping[str, str]) -> str:
    """Return the accuracies of some losses or methods, as in "ce 61.9 ± 0.6, forward 65.5 ± 0.3 (n = 5)"."""
    found = {text: [*results.values(accuracy, loss, noise).values()] for loss, text in names.items()}
    (n,) = {len(values) for values in found.values()}
    said = ", ".join(f"{text} {percent(values)}" for text, values in found.items())
    return f"{said} (n = {n})"


def _classifiers(known: Evidence) -> str:
    ranks = known.benchmark("tables-amd-epyc-2-rivals")["ranks"]["mean"]
    (ours, rank), (rival, other) = sorted(ranks.items(), key=lambda item: item[1])[:2]
    where = "four sets, six noises (n = 2)"
    return f"mean rank {rank:.1f} ({ours}) and {other:.1f} ({rival}) of {len(ranks)}; {where}"


def _photographs(known: Evidence) -> str:
    rows = [row for row in known.benchmark("default-photos")["rows"] if row["epochs"] == 30]
    default, ce = ([r["accuracy"] for r in rows if r["loss"] == loss] for loss in ("default", "ce"))
    return f"3,000, 17 % of the labels wrong: {percent(default)}, ce {percent(ce)} (n = {len(ce)})"


def _audit(known: Evidence) -> str:
    said = []
    for name in ("worse", "aggre"):
        found = [r for r in known.benchmark("features")["rows"] if f"({name})" in r["name"]]
        ours, other = ([r["average_precision"][who] for r in found] for who in ("ours", "cleanlab"))
        said.append(f"`{name}` {percent(ours)}, cleanlab {percent(other)}")
    return f"average precision, 2,500 photographs: {'; '.join(said)} (n = {len(ours)})"


def decisions(runs: Runs) -> str:
    """Return the table as Markdown."""
    known = Evidence(runs)
    semi = {"ce by ssr": "ssr", "ce by jocor": "jocor", "ce by coteaching": "coteaching", "ce": "ce alone"}
    inside = {
        "nce+mae by coteaching": "both",
        "ce by coteaching": "with ce",
        "nce+mae": "nce+mae alone",
        "ce": "ce alone",
    }
    corrected = {"ce by forward": "forward", "nce+mae": "nce+mae", "ce": "ce"}
    hundred = {"10*nce+0.5*mae": "10:0.5", "nce+mae": "1:1"}
    unlabeled = {"gce by dividemix": "dividemix with gce", "gce": "gce alone"}
    rows = [
        (
            "photographs in folders",
            "`noisylabels train --data photos/`, with the [encoder](pretrained.md)",
            "[measured](measured-default-loss.md#a-folder-of-photographs)",
            _photographs(known),
        ),
        (
            "features, and many labels wrong",
            "`--method ssr` or `jocor`; `coteaching` if they take too long",
            "[human annotations](measured-semi-supervised.md), `worse`",
            accuracies(known.study("semi-features"), "human:cifar10n-tenth.parquet@worse", semi),
        ),
        (
            "a method that selects examples",
            "a robust loss inside it: `--method coteaching --loss nce+mae`",
            "[features](measured-methods.md), symmetric 0.4",
            accuracies(known.features, "symmetric:0.4@exact", inside),
        ),
        (
            "classes that are taken for each other",
            "`--method forward` with `ce`, or `elr` on images",
            "[features](measured-methods.md), asymmetric 0.4",
            accuracies(known.features, "asymmetric:0.4@cifar10", corrected),
        ),
        (
            "a training loop of your own, images, many epochs",
            '`nl.loss("nce+rce")`',
            "[46,920 steps](measured-found.md#the-papers-setting), symmetric 0.4",
            accuracies(runs.paper, "symmetric:0.4", {"nce+rce": "nce+rce", "ce": "ce"}),
        ),
        (
            "fewer than some 1,000 steps",
            '`ce`, or `nl.loss("4*gce")`',
            "[800 steps](measured-found.md#short-runs-mislead), symmetric 0.4",
            accuracies(runs.tenth, "symmetric:0.4", {"ce": "ce", "nce+rce": "nce+rce", "mae": "mae"}),
        ),
        (
            "100 classes",
            '`nl.loss("nce+mae@cifar100")`: 10 `nce` + 0.5 `mae`',
            "[features](measured-weights.md), symmetric 0.4",
            accuracies(known.study("weights-hundred"), "symmetric:0.4@exact", hundred),
        ),
        (
            "small images, four of five labels wrong",
            "`--method dividemix --loss gce`",
            "[digits](measured-semi-supervised.md), symmetric 0.8",
            accuracies(known.study("semi-hybrids-digits"), "symmetric:0.8@exact", unlabeled),
        ),
        ("a table", "`nl.NoisyLabelClassifier`", "[measured](measured-estimator.md)", _classifiers(known)),
        (
            "labels to correct",
            "`noisylabels audit`, then `review`",
            "[human annotations](measured-features.md)",
            _audit(known),
        ),
    ]
    lines = ["| you have | take | because |", "|---|---|---|"]
    lines += [f"| {have} | {take} | {where}: {figures} |" for have, take, where, figures in rows]
    return "\n".join(lines) + "\n"
