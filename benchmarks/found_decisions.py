"""Build the table at the top of docs/found.md: what to take for which data, and the measurement behind it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from found_runs import Runs
from method_runs import Grid
from method_tables import ranked, read

from noisylabels.losses.expression import loss as parse_loss
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
    def grids(self) -> dict[str, Grid]:
        """Methods by data set."""
        return read(self.runs.folder)

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
    found = known.benchmark("tables-amd-epyc-2-rivals")
    mean = dict(found["ranks"]["mean"])
    count, ours = len(mean), mean.pop("NoisyLabelClassifier")
    rival = min(mean, key=mean.__getitem__)
    where = f"{count} classifiers over {found['ranks']['settings']} settings"
    return f"mean rank {ours:.1f} of {where}, {rival} {mean[rival]:.1f} (n = {len(found['seeds'])})"


def _photographs(known: Evidence) -> str:
    found = known.benchmark("walk-photographs")
    trained = [row["trained"] for row in found["features"]]
    noisy, clean = ([each[name]["accuracy"] for each in trained] for name in ("given", "true"))
    wrong = 100 * statistics.fmean(each["given"]["wrong"] for each in trained)
    said = f"{percent(noisy)}, with true labels {percent(clean)} (n = {len(noisy)})"
    return f"{found['images']:,}, {wrong:.0f} % of the labels wrong: {said}"


def _features(known: Evidence) -> str:
    runs = {
        "": (known.study("semi-features-default", "the default"), "auto"),
        ", an MLP with ce ": (known.study("semi-features"), "ce"),
        ", an MLP with `ssr` ": (known.study("semi-features"), "ce by ssr"),
    }
    said = []
    for noise, word in (("symmetric:0.5@exact", "symmetric 0.5"), ("human:", "`worse`")):
        parts = []
        for text, (results, loss) in runs.items():
            (name,) = (each for each in results.noises if each.startswith(noise))
            values = [*results.values(accuracy, loss, name).values()]
            parts.append(f"{text}{percent(values)}")
        said.append(f"{word} {''.join(parts)}")
    return f"{'; '.join(said)} (n = {len(values)})"


def _ssr(known: Evidence) -> str:
    said = []
    for noise in ("symmetric:0.8@exact", "asymmetric:0.4@cifar10"):
        ssr, default = (
            [*known.study(name, model).values(accuracy, loss, noise).values()]
            for name, model, loss in (
                ("semi-features", "mlp", "ce by ssr"),
                ("semi-features-default", "the default", "auto"),
            )
        )
        word = noise.partition("@")[0].replace(":", " ")
        said.append(f"{word} {percent(ssr)}, the default of `train` {percent(default)}")
    return f"{'; '.join(said)} (n = {len(ssr)})"


def _own_loop(known: Evidence) -> str:
    named = {parse_loss("anl_ce@cifar10").expression: "anl_ce@cifar10", "nce+mae": "nce+mae", "ce": "ce"}
    said, runs = [], ""
    for noise in ("symmetric:0.4", "symmetric:0.8", "asymmetric:0.4"):
        figures, _, runs = accuracies(known.runs.frozen, noise, named).rpartition(" (")
        said.append(f"{noise.replace(':', ' ')} {figures}")
    return f"{'; '.join(said)} ({runs}"


def _from_pixels(known: Evidence) -> str:
    found = {
        loss: [
            row["accuracy"]
            for row in known.benchmark("default-loss")["rows"]
            if (row["set"], row["noise"], row["epochs"]) == ("photographs", "symmetric:0.4", 30)
            and row["loss"] == loss
        ]
        for loss in ("4*gce", "ce")
    }
    return (
        ", ".join(f"{loss} {percent(values)}" for loss, values in found.items())
        + f" (n = {len(found['ce'])})"
    )


def _ranks(known: Evidence) -> str:
    found, settings = ranked(known.grids)
    return (
        f"mean rank {found.mean['agreement']:.1f} of {len(found.mean)} methods over {len(settings)} settings"
    )


def _audit(known: Evidence) -> str:
    said = []
    for name in ("worse", "aggre"):
        found = [r for r in known.benchmark("features")["rows"] if f"({name})" in r["name"]]
        ours, other = (
            [r["average_precision"][who] for r in found] for who in ("ours", "logistic regression")
        )
        said.append(f"`{name}` {percent(ours)}, logistic regression {percent(other)}")
    (images,) = {row["name"].partition(", ")[0] for row in found}
    return f"average precision, {images} photographs: {'; '.join(said)} (n = {len(ours)})"


def decisions(runs: Runs) -> str:
    """Return the table as Markdown."""
    known = Evidence(runs)
    inside = {
        "nce+mae by coteaching": "both",
        "ce by coteaching": "coteaching with ce",
        "nce+mae": "nce+mae alone",
        "ce": "ce alone",
    }
    clothes = {
        "ce by coteaching": "coteaching",
        "ce by elr": "elr",
        "ce by agreement": "agreement",
        "ce": "ce alone",
    }
    long = {"nce+rce": "nce+rce", "mae": "mae", "ce": "ce"}
    hundred = {
        "10*nce+0.5*mae": "nce+mae@cifar100",
        "0.1*agce(a=1.8,q=3)+10*nce": "nce+agce@cifar100",
        "nce+mae": "nce+mae",
    }
    unlabeled = {"gce by dividemix": "both", "gce": "gce alone"}
    rows = [
        (
            "photographs in folders, or texts",
            "`noisylabels train --data photos/`, with an [encoder](pretrained.md)",
            "[as typed](measured-walk.md)",
            _photographs(known),
        ),
        (
            "features, numbers",
            "`noisylabels train --data features.npz`: it chooses the loss and the penalty of a linear model",
            "[features of 5,000 photographs](measured-semi-supervised.md)",
            _features(known),
        ),
        (
            "features, with about 80 % symmetric noise, or labels flipped between similar classes "
            "(asymmetric noise)",
            "`--method ssr`, with [these settings](measured-semi-supervised.md#how-it-was-measured)",
            "[features of 5,000 photographs](measured-semi-supervised.md)",
            _ssr(known),
        ),
        (
            "a table, in Python",
            "`nl.NoisyLabelClassifier`",
            "[classifiers](measured-estimator.md)",
            _classifiers(known),
        ),
        (
            "labels to correct",
            "`noisylabels audit`, then `review`",
            "[human annotations](measured-features.md)",
            _audit(known),
        ),
        (
            "a network, unknown noise",
            "`--method agreement`, as fast as training without a method",
            "[methods](measured-methods.md)",
            _ranks(known),
        ),
        (
            "symmetric noise, a network that memorizes",
            "a robust loss inside a method that selects: `--method coteaching --loss nce+mae`",
            "[features](measured-methods.md), symmetric 0.4",
            accuracies(known.features, "symmetric:0.4@exact", inside),
        ),
        (
            "labels flipped between similar classes (asymmetric noise)",
            "a method, on images `coteaching`, `elr` or `agreement`",
            "[Fashion-MNIST](measured-methods.md), asymmetric 0.4",
            accuracies(known.study("methods-fashion"), "asymmetric:0.4", clothes),
        ),
        (
            "a loop of your own, on features",
            '`nl.loss("anl_ce@cifar10")`',
            "[features of all photographs](measured-frozen.md)",
            _own_loop(known),
        ),
        (
            "a loop of your own, images, 10,000 steps or more",
            '`nl.loss("nce+rce")`',
            "[CIFAR-10](measured-found.md#the-papers-setting), symmetric 0.4, 46,920 steps",
            accuracies(runs.paper, "symmetric:0.4", long),
        ),
        (
            "images, at most about 1,000 steps",
            '`nl.loss("4*gce")`',
            "[photographs](measured-default-loss.md), symmetric 0.4, 30 epochs",
            _from_pixels(known),
        ),
        (
            "100 classes, features",
            '`nl.loss("nce+mae@cifar100")`, which is 10 `nce` + 0.5 `mae`; on images the published '
            "figures favor [`nce+agce@cifar100`](auto-loss.md), the default",
            "[100 classes, each a part of a class of CIFAR-10](measured-weights.md), symmetric 0.4",
            accuracies(known.study("weights-hundred"), "symmetric:0.4@exact", hundred),
        ),
        (
            "80 % symmetric noise, digits or the like",
            "`--method dividemix --loss gce`, with augmentation",
            "[digits](measured-semi-supervised.md)",
            accuracies(known.study("semi-hybrids-digits"), "symmetric:0.8@exact", unlabeled),
        ),
    ]
    lines = ["| you have | take | because |", "|---|---|---|"]
    lines += [f"| {have} | {take} | {where}: {figures} |" for have, take, where, figures in rows]
    return "\n".join(lines) + "\n"
