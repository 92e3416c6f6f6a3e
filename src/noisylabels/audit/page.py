"""Write the audit page: labels of lowest quality, estimated noise, class pairs, near-duplicates.

The page is one file that works offline: it embeds its images, requests nothing, and can be printed. Untrusted
text, such as names of classes and files, enters it as JSON only, which its script inserts as text.
"""

from __future__ import annotations

import base64
import html
import io
import json
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels import __version__
from noisylabels.audit.page_rows import PageRows
from noisylabels.audit.reasons import is_from_models
from noisylabels.core.written_names import plain_name
from noisylabels.data.names import shared_id

if TYPE_CHECKING:
    from noisylabels.audit.result import Audit
    from noisylabels.data.features import Examples

SHOWN = 600
"""Most examples on the page, which then takes a few megabytes."""
GROUPS = 60
"""Most groups of near-duplicates on the page."""
SIDE = 128
"""Longest side of an image on the page, in pixels."""

_LOSSLESS = 40  # pixels: smaller images are stored as PNG, larger ones as JPEG


def page(audit: Audit, examples: Examples | None, folder: Path) -> str:
    """Return the audit page as self-contained HTML.

    Args:
        audit: the audit.
        examples: the audited set, whose images are shown; None for an audit of labels alone.
        folder: folder of the audit, for the commands.
    """
    images = examples is not None and examples.inputs.ndim == 4

    rows = PageRows(audit, examples)

    def item(i: int, means: bool = True) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": audit.ids[i],
            "given": int(audit.given[i]),
            "suggested": int(audit.suggested[i]),
            "score": float(f"{audit.score[i]:.3g}"),
            "why": audit.why[i],
        }
        if audit.probability_wrong is not None and audit.probability_suggested is not None:
            made["wrong"] = round(float(audit.probability_wrong[i]), 6)
            made["right"] = round(float(audit.probability_suggested[i]), 6)
            if is_from_models(audit.why[i]):  # beside these two, other probabilities would only confuse
                del made["why"]
        if audit.true is not None:
            made["true"] = int(audit.true[i])
        if images and examples is not None:
            made["image"] = data_uri(examples.inputs[i].numpy())
        else:
            made |= rows.row(i, means)
        if audit.trusted is not None and audit.trusted[i]:
            made["trusted"] = True
        return made

    flagged = int(audit.flagged.sum())
    count = min(len(audit), SHOWN, max(flagged, 60))
    conflicts = audit.summary["duplicates"]["conflicts"]
    known = set(audit.ids) if conflicts else set()
    content = {
        "classes": list(audit.class_names),
        "flagged": flagged,
        "columns": rows.numbers,
        "items": [{"rank": rank, **item(i)} for rank, i in enumerate(audit.order[:count].tolist(), 1)],
        "matrix": _entries(audit.summary["transition"]),
        "byClass": _by_class(audit),
        "pairs": audit.summary["pairs"][:100],
        "groups": [
            {
                "exact": group["exact"],
                "id": not images and len({shared_id(audit.ids[i], known) for i in group["members"]}) == 1,
                "members": [item(i, means=False) for i in group["members"][:12]],
            }
            for group in conflicts[:GROUPS]
        ],
    }
    files = resources.files("noisylabels.audit")
    # replaced in one pass, so that inserted text is never taken for a placeholder
    parts = files.joinpath("page.html").read_text(encoding="utf-8").split("@")
    values = {
        "title": html.escape(f"Audit of {audit.name}"),
        "style": files.joinpath("page.css").read_text(encoding="utf-8"),
        "program": "".join(files.joinpath(f"{n}.js").read_text(encoding="utf-8") for n in ("words", "page")),
        "data": in_script(content),
        "lead": _text(lead(audit)),
        "warning": f'<p class="warning">{_text(found)}</p>' if (found := warning(audit)) else "",
        "facts": _terms(_facts(audit)),
        "notes": _notes(audit),
        "quality": _text(_quality(audit, count)),
        "noise": html.escape(_noise(audit)),
        "pairs": html.escape(_pairs(audit)),
        "duplicates": html.escape(_duplicates(audit, images)),
        "next": _next(audit, folder),
        "method": _terms(_method(audit)),
        "limits": "".join(f"<p>{html.escape(line)}</p>" for line in _LIMITS),
    }
    return plain_name("".join(values[part] if k % 2 else part for k, part in enumerate(parts)))


def _by_class(audit: Audit) -> list[dict[str, Any]]:
    """Return the rows of the table of classes; "wrong" is None where none of its labels is judged."""
    judged = np.ones(len(audit), bool)
    judged[audit.summary.get("not_judged", [])] = False
    counts = np.bincount(audit.given[judged], minlength=len(audit.class_names))
    return [
        row if count else row | {"wrong": None}
        for row, count in zip(audit.summary["classes"], counts.tolist(), strict=True)
    ]


def in_script(value: Any) -> str:
    """Return JSON that is safe inside a script element, whatever text it contains.

    >>> in_script("</script><!--")
    '"\\\\u003c/script>\\\\u003c!--"'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def data_uri(pixels: np.ndarray) -> str:
    """Return an image, uint8 (C, H, W) with C 1 or 3, as a data URI."""
    from PIL import Image

    image = Image.fromarray(
        pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    lossless = max(image.size) <= _LOSSLESS
    if lossless:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=85)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


WEAK = 0.5
"""Part of the way from chance to always right that the models' accuracy on right labels must reach; below it,
they are too weak to judge labels."""

LEARNED = 0.1
"""Part of the way from chance to 1 that the agreement with the given labels must reach; below it, nothing was
learned, or nearly all labels are wrong."""

CHECKED = 20
"""Labels checked by hand from which the models are judged by these."""

WIDE = 0.25
"""Width of the interval of the noise rate from which only its ends are stated, as bounds."""


def is_weak(audit: Audit) -> bool:
    """Return whether the models are too weak to judge the labels; noise alone does not make them so."""
    return _share_learned(audit) is not None


def _share_learned(audit: Audit) -> tuple[float, str] | None:
    """Return the share that weak models predict, and of which labels; None if they are not weak."""
    agreement, found = audit.summary["agreement"], audit.summary.get("accuracy")
    if found is None:  # of an audit up to version 0.1
        return (agreement, "given labels") if agreement < WEAK else None
    chance = 1 / len(audit.class_names)
    if (checked := audit.summary.get("trusted")) and checked["count"] >= CHECKED:
        right, which = checked["agreement"], "labels checked by hand"
    else:
        if agreement - chance < LEARNED * (1 - chance):
            return agreement, f"given labels, where guessing predicts {100 * chance:.0f} %"
        right, which = found["estimate"], "right labels, by estimate"
        network = audit.summary.get("network", {"accuracy": 1.0, "contradicted": False})
        if not network["contradicted"] and network["accuracy"] < right:
            right, which = network["accuracy"], f"{which}, with the network that gives the noise rate"
    return (right, which) if right - chance < WEAK * (1 - chance) else None


def lead(audit: Audit) -> str:
    """Return the main finding in one sentence or two."""
    rate, flagged = audit.summary["rate"], int(audit.flagged.sum())
    checked = audit.summary.get("trusted")
    left = np.ones(len(audit), bool)
    left[audit.summary.get("not_judged", [])] = False
    if audit.trusted is not None:
        left &= ~audit.trusted
    n = int(left.sum())
    judged = f"{n:,} label{'' if n == 1 else 's'}{' not checked by hand' if checked else ''}"
    are = f"{flagged:,} {'is' if flagged == 1 else 'are'} flagged as likely mislabeled"
    estimate = f"{100 * rate['estimate']:.1f} %"
    ends = "" if rate["low"] is None else f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %"
    if ends:
        estimate += f" ({100 * rate['level']:.0f} % interval {ends})"
    if is_weak(audit):
        return (
            f"The models are too weak to estimate the noise rate of these {judged}; the unreliable "
            f"estimate is {estimate}. {are[0].upper()}{are[1:]}.{_contradiction(audit)}"
        )
    if ends and rate["high"] - rate["low"] > WIDE:
        return (
            f"Between {ends.replace(' to ', ' and ')} of the {judged} are wrong ({100 * rate['level']:.0f} % "
            f"bounds; best estimate {100 * rate['estimate']:.1f} %). Of them, {are}.{_contradiction(audit)}"
        )
    if checked:
        return (
            f"The estimated noise rate of the {judged} is {estimate}. Of them, {are}.{_contradiction(audit)}"
        )
    return f"The estimated noise rate is {estimate}. Of {judged}, {are}.{_contradiction(audit)}"


def _contradiction(audit: Audit) -> str:
    """Return what the noise rate is estimated from where the network is too weak for that; "" elsewhere."""
    network = audit.summary.get("network")
    if network is None or not network["contradicted"]:
        return ""
    return (
        f" The network predicts only {100 * network['agreement']:.0f} % of the given labels, so the rate is "
        "estimated from the probabilities of all judges; on human noise it may be too low."
    )


def expected_line(audit: Audit) -> str:
    """Return the expected share of wrong labels after accepting all suggestions, if known."""
    expected = audit.summary.get("expected")
    if expected is None or not audit.flagged.any():
        return ""
    return (
        "accepting the suggestions of all flagged labels is expected to leave "
        f"{100 * expected['after']:.1f} % of the labels wrong"
    )


def trusted_line(checked: dict[str, Any]) -> str:
    """Return how many labels were checked by hand, and how many of them the models predict."""
    count = "1 label" if checked["count"] == 1 else f"{checked['count']:,} labels"
    share = f"{100 * checked['agreement']:.1f} %"
    ends = f"{100 * checked['low']:.1f} to {100 * checked['high']:.1f} %"
    return (
        f"checked by hand: {count} ({checked['from']}); out of fold, {share} of them are predicted as "
        f"checked ({100 * checked['level']:.0f} % interval {ends})"
    )


def warning(audit: Audit) -> str:
    """Return the reason not to trust the audit; "" if there is none."""
    if (learned := _share_learned(audit)) is None:
        return ""
    ways = "more epochs, more examples, or probabilities of a better model (--probs)"
    if (judged := audit.summary["method"]["probs"]) != "trained":
        ways = {"given": "probabilities of a better model", "classifier": "another classifier"}[judged]
    share, which = learned
    return (
        f"The models predict only {100 * share:.0f} % of the {which}. Most likely they are too weak to judge "
        f"the labels, so do not rely on these results. Try {ways}."
    )


def _notes(audit: Audit) -> str:
    """Return the notes on the data as a list; "" without any."""
    if not audit.notes:
        return ""
    lines = "".join(f"<li>{_text(note)}</li>" for note in audit.notes)
    return f'<section id="notes"><h2>Notes on the data</h2><ul>{lines}</ul></section>'


def _facts(audit: Audit) -> dict[str, str]:
    summary = audit.summary
    facts = {
        "examples": f"{len(audit):,}",
        "classes": f"{len(audit.class_names):,}",
        "flagged": f"{int(audit.flagged.sum()):,}",
        "groups of near-duplicates": f"{summary['duplicates']['groups']:,}",
        "groups with different labels": f"{len(summary['duplicates']['conflicts']):,}",
    }
    if expected := summary.get("expected"):
        facts["wrong after accepting all suggestions"] = f"{100 * expected['after']:.1f} %"
    if checked := summary.get("trusted"):
        facts["checked by hand"] = f"{checked['count']:,}"
        facts["of them predicted as checked"] = f"{100 * checked['agreement']:.1f} %"
    if known := summary.get("known"):
        facts["true noise rate"] = f"{100 * known['rate']:.1f} %"
        if known["average_precision"] is not None:
            facts["average precision"] = f"{100 * known['average_precision']:.1f} %"
        if known["precision"] is not None:
            facts["precision of the flags"] = f"{100 * known['precision']:.1f} %"
        if known.get("after") is not None:  # not in an older audit
            facts["true noise rate after accepting"] = f"{100 * known['after']:.1f} %"
    return facts


def _quality(audit: Audit, count: int) -> str:
    flagged = int(audit.flagged.sum())
    more = ""
    if flagged > count:
        more = f" The page shows the first {count:,} of {flagged:,} flagged labels; labels.csv has all."
    elif not flagged:
        more = " No label is flagged."
    elif count > flagged:
        more = f" The first {flagged:,} are flagged, the others are not."
    if audit.probability_wrong is None:
        shown = "Each card shows the given label, struck out if it is flagged, and the suggested label."
    else:
        shown = (
            "Each card shows the given label, struck out if it is flagged, the suggested label, and the "
            "estimated probability that the given label is wrong. The bar shows it in log-odds: a third of "
            "its length is 50 %, two thirds are 99 %."
        )
    return f"{shown}{more}"


def _noise(audit: Audit) -> str:
    level = audit.summary["rate"]["level"]
    words = (
        "One row per true class, one column per given label, in percent. The gray diagonal is the share of "
        "correct labels."
    )
    if level is not None:
        words += (
            f" Point at a cell, or tap it, for its {100 * level:.0f} % interval, which covers the sampling "
            "of examples, not the errors of the models."
        )
    return words


def _pairs(audit: Audit) -> str:
    pairs = audit.summary["pairs"]
    if not pairs:
        return "No label is flagged."
    more = " The page shows the first 100 pairs; audit.json has all." if len(pairs) > 100 else ""
    return f"Given and suggested labels of the flagged examples, most frequent pair first.{more}"


def _duplicates(audit: Audit, images: bool) -> str:
    found = audit.summary["duplicates"]
    what = "images" if images else "rows"
    also = "" if images else ", or rows of one id with different labels,"
    if not found["groups"]:
        return f"No identical or nearly identical {what}{also} were found."
    groups = "1 group" if found["groups"] == 1 else f"{found['groups']:,} groups"
    words = f"{groups} of identical or nearly identical {what}{also} ({found['copies']:,} could be removed)."
    conflicts = len(found["conflicts"])
    if not conflicts:
        return f"{words} The labels within {'it' if found['groups'] == 1 else 'each group'} agree."
    where = "1 group" if conflicts == 1 else f"{conflicts:,} groups"
    more = f" (the first {GROUPS} are shown)" if conflicts > GROUPS else ""
    return f"{words} In {where}{more} the labels differ, so at least one label per group is wrong."


def next_steps(audit: Audit, folder: Path) -> list[tuple[str, str]]:
    """Return the next steps, each with its purpose and command."""
    if audit.summary["data"] is None:
        return []
    place = shlex.quote(str(folder))
    data = shlex.quote(str(audit.summary["data"]))
    more = (
        ""
        if audit.summary["data_root"] is None
        else f" --data-root {shlex.quote(audit.summary['data_root'])}"
    )
    if audit.summary["image_size"] is not None:
        more += f" --image-size {audit.summary['image_size']}"
    if audit.summary["bad_images"] != "fail":
        more += f" --bad-images {audit.summary['bad_images']}"
    if audit.summary.get("label_column") is not None:
        more += f" --label-column {shlex.quote(audit.summary['label_column'])}"
    if audit.summary.get("id_column") is not None:
        more += f" --id-column {shlex.quote(audit.summary['id_column'])}"
    if audit.summary.get("text_column") is not None:
        more += f" --text-column {shlex.quote(audit.summary['text_column'])}"
    steps = [("Review the flagged labels by keyboard", f"noisylabels review {place}")]
    if audit.summary.get("texts_alone"):  # nothing to train on
        steps.append(
            ("Export the corrected table", f"noisylabels review {place} --export corrected.csv --form input")
        )
    elif audit.summary["noise"] == "none":
        steps += [
            ("Export the corrected labels", f"noisylabels review {place} --export corrected.csv"),
            (
                "Train on the corrected labels",
                f"noisylabels train --data {data}{more} --labels corrected.csv",
            ),
        ]
    return steps


def _next(audit: Audit, folder: Path) -> str:
    steps = next_steps(audit, folder)
    if not steps:
        return (
            "<p>labels.csv lists all labels, lowest quality first. Correct the first ones in your data.</p>"
        )
    return "".join(
        f"<p>{html.escape(words)}:</p><pre><code>{html.escape(command)}</code></pre>"
        for words, command in steps
    )


def _method(audit: Audit) -> dict[str, str]:
    summary, method = audit.summary, audit.summary["method"]
    made = {"data": str(summary["data"] or "arrays")}
    made["part"] = {"all": "all examples", "train": "the training part"}[summary["part"]]
    if summary["noise"] != "none":
        made["noise added"] = f"{summary['noise']}, seed {summary['seed']}"
    if summary["labels"] is not None:
        made["corrected labels"] = summary["labels"]
    if checked := summary.get("trusted"):
        made["trusted labels"] = trusted_line(checked).removeprefix("checked by hand: ")
    if method["probs"] == "given":
        made["probabilities"] = "supplied; no model was trained"
    elif method["probs"] == "classifier":
        made["probabilities"] = f"{method['folds']}-fold cross-validation, one classifier per fold"
        made["classifier"] = f"{method['classifier']} ({method['class']})"
        made["seed"] = str(method["seed"])
        made["training time"] = f"{method['train_seconds']:,.0f} s"
    else:
        made["probabilities"] = f"{method['folds']}-fold cross-validation, one model per fold"
        if (embedding := method.get("embedding")) is not None:
            size = embedding.get("preprocessing", {}).get("size")
            made["features"] = f"{embedding['name']}, frozen" + (f", images of {size} pixels" if size else "")
        for name in ("model", "loss", "epochs", "batch_size", "lr", "seed"):
            if name in method:
                made["learning rate" if name == "lr" else name.replace("_", " ")] = str(method[name])
        if method["choice"] is not None:
            made["why this loss"] = method["choice"]["why"]
        made["training time"] = f"{method['train_seconds']:,.0f} s"
    made["noise rate estimate"] = {
        "calibrated": "from the labels that the models are most sure of and from noise models, "
        "as on sets with known noise",
        "confident_joint": "confident joint",
        "confident_joint, seen": "mean of the confident joint (out of fold) and the share of labels that the "
        "models did not learn",
    }[summary["rate"]["method"]]
    made["version"] = f"noisylabels {__version__}"
    return made


_LIMITS = (
    "The models find labels that do not fit the others. If most examples of a kind are mislabeled in the "
    "same way, the models learn the mistake. If a class is rare or its examples are hard, correct labels are "
    "flagged too. Inspect an example before you correct it.",
    "The noise rate is estimated with the same models; where they are weak, its interval is wide.",
)


def _terms(values: dict[str, str]) -> str:
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in values.items()
    )


def _entries(transition: dict[str, Any]) -> list[list[float]]:
    """Return the entries of a matrix as true class, given label, share and, if known, its interval."""
    values = np.array(transition["matrix"])
    places = np.argwhere(values > 0)
    if len(values) > 200:  # more entries could not be told apart, and would slow the page down
        places = places[np.argsort(-values[tuple(places.T)], kind="stable")[: 20 * len(values)]]
    ends = [] if transition["low"] is None else [np.array(transition[name]) for name in ("low", "high")]
    return [
        [i, j, round(values[i, j], 5), *(round(end[i, j], 5) for end in ends)] for i, j in places.tolist()
    ]


def _text(text: str) -> str:
    """Return text as HTML in which no line breaks between a number and its percent sign."""
    return html.escape(text).replace(" %", "&nbsp;%")
