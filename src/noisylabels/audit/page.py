"""The audit's page: the most doubtful pictures, how noisy the labels are, what is taken for what.

The page is one file. It asks for nothing from anywhere, carries its pictures inside, and prints. Text from
outside, such as names of classes and files, reaches it as data only, which its script sets as text.
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

if TYPE_CHECKING:
    from noisylabels.audit.result import Audit
    from noisylabels.data.encoding import Encoder
    from noisylabels.data.features import Examples

SHOWN = 600
"""Pictures on the page at most: with them it has some megabytes."""
GROUPS = 60
VALUES = 12
"""Of a table's row at most: columns."""
SIDE = 128
"""Of a picture, in pixels at most."""

_TINY = 24  # pixels: smaller ones are shown as squares, without smoothing
_LOSSLESS = 40


def page(audit: Audit, examples: Examples | None, folder: Path) -> str:
    """Return a page as HTML, complete in itself.

    Args:
        audit: what was found.
        examples: the audited set, whose pictures are shown; None where there were labels alone.
        folder: of the audit, for the commands.
    """
    pictures = examples is not None and examples.inputs.ndim == 4
    tiny = pictures and examples is not None and max(examples.inputs.shape[2:]) < _TINY

    encoder = None if pictures else getattr(examples, "encoder", None)

    def item(i: int) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": audit.ids[i],
            "given": int(audit.given[i]),
            "suggested": int(audit.suggested[i]),
            "score": round(float(audit.score[i]), 4),
            "why": audit.why[i],
        }
        if audit.true is not None:
            made["true"] = int(audit.true[i])
        if pictures and examples is not None:
            made["image"] = data_uri(examples.inputs[i].numpy())
        elif encoder is not None and examples is not None:
            made["values"] = _values(encoder, examples.inputs[i].numpy())
        return made

    flagged = int(audit.flagged.sum())
    count = min(len(audit), SHOWN, max(flagged, 60))
    conflicts = audit.summary["duplicates"]["conflicts"]
    content = {
        "classes": list(audit.class_names),
        "tiny": tiny,
        "items": [{"rank": rank, **item(i)} for rank, i in enumerate(audit.order[:count].tolist(), 1)],
        "matrix": _entries(audit.summary["transition"]),
        "byClass": audit.summary["classes"],
        "pairs": audit.summary["pairs"][:100],
        "groups": [
            {"exact": group["exact"], "members": [item(i) for i in group["members"][:12]]}
            for group in conflicts[:GROUPS]
        ],
    }
    files = resources.files("noisylabels.audit")
    # replaced in one pass, so that nothing that is put in is taken for a place to put something
    parts = files.joinpath("page.html").read_text(encoding="utf-8").split("@")
    values = {
        "title": html.escape(f"Audit of {audit.name}"),
        "style": files.joinpath("page.css").read_text(encoding="utf-8"),
        "program": files.joinpath("page.js").read_text(encoding="utf-8"),
        "data": in_script(content),
        "lead": html.escape(lead(audit)),
        "warning": f'<p class="warning">{html.escape(doubt)}</p>' if (doubt := warning(audit)) else "",
        "facts": _terms(_facts(audit)),
        "doubtful": html.escape(_doubtful(audit, count)),
        "noise": html.escape(_noise(audit)),
        "pairs": html.escape(_pairs(audit)),
        "copies": html.escape(_copies(audit, pictures)),
        "next": _next(audit, folder, pictures),
        "made": _terms(_made(audit)),
        "limits": "".join(f"<p>{html.escape(line)}</p>" for line in _LIMITS),
    }
    return _plain("".join(values[part] if k % 2 else part for k, part in enumerate(parts)))


def _values(encoder: Encoder, row: np.ndarray) -> str:
    """Return a row of a table in words, of its first columns; the encoder made its features."""
    said, place = [], 0
    for column in encoder.columns[:VALUES]:
        own = row[place : place + len(column.features)]
        place += len(own)
        if column.marked and own[-1]:
            said.append(f"{column.name} is missing")
        elif column.kind == "words":
            said += [f"{column.name} {word}" for word, here in zip(column.words, own, strict=False) if here]
        else:
            said.append(f"{column.name} {float(f'{own[0]:.7g}'):,.12g}")  # the digits that float32 has
    return ", ".join(said)


def in_script(value: Any) -> str:
    """Return JSON that can stand in a script of a page, whatever is in it.

    >>> in_script("</script><!--")
    '"\\\\u003c/script>\\\\u003c!--"'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def data_uri(pixels: np.ndarray) -> str:
    """Return an image, uint8 (C, H, W) with C 1 or 3, as an address that holds it."""
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
"""The share of labels that probabilities agree with, below which they are more likely weak than right."""


def lead(audit: Audit) -> str:
    """Return the audit in a sentence."""
    rate = audit.summary["rate"]
    between = ""
    if rate["low"] is not None:
        between = f" ({100 * rate['low']:.1f} to {100 * rate['high']:.1f} %)"
    flagged = f"{int(audit.flagged.sum()):,} are flagged"
    if audit.summary["agreement"] < WEAK:
        return (
            f"How many of the {len(audit):,} labels are wrong is not to be told: the models are too weak, "
            f"and doubt {100 * rate['estimate']:.1f} %{between}. {flagged}; look at the first of them."
        )
    return (
        f"About {100 * rate['estimate']:.1f} %{between} of the {len(audit):,} labels look wrong, "
        f"and {flagged}."
    )


def warning(audit: Audit) -> str:
    """Return what speaks against trusting the audit; "" if nothing does."""
    agreement = audit.summary["agreement"]
    if agreement >= WEAK:
        return ""
    ways = "more epochs, more examples, or probabilities of a better model (--probs)"
    if audit.summary["method"]["probs"] == "given":
        ways = "probabilities of a better model"
    return (
        f"The model agrees with only {100 * agreement:.0f} % of the labels. More likely than so many wrong "
        f"labels is a model too weak to judge them: do not rely on these figures. Try {ways}."
    )


def _facts(audit: Audit) -> dict[str, str]:
    summary = audit.summary
    facts = {
        "examples": f"{len(audit):,}",
        "classes": f"{len(audit.class_names):,}",
        "flagged": f"{int(audit.flagged.sum()):,}",
        "copies": f"{summary['duplicates']['copies']:,}",
        "same, but labeled differently": f"{len(summary['duplicates']['conflicts']):,} groups",
    }
    if known := summary.get("known"):
        facts["truly wrong"] = f"{100 * known['rate']:.1f} %"
        if known["average_precision"] is not None:
            facts["average precision"] = f"{100 * known['average_precision']:.1f} %"
        if known["precision"] is not None:
            facts["precision of the flagged"] = f"{100 * known['precision']:.1f} %"
    return facts


def _doubtful(audit: Audit, count: int) -> str:
    flagged = int(audit.flagged.sum())
    more = ""
    if flagged > count:
        more = f" The first {count:,} of {flagged:,} flagged are here; all are in labels.csv."
    elif count > flagged:
        more = (
            f" The first {flagged:,} are flagged; the others come next." if flagged else " None is flagged."
        )
    return f"Struck out: the label given. After it: what it looks like to the models.{more}"


def _noise(audit: Audit) -> str:
    level = audit.summary["rate"]["level"]
    words = "A row a class, a column a label; the paler diagonal is what is labeled right."
    if level is not None:
        words += (
            f" Point at a cell for its interval ({100 * level:.0f} %), which says how much it matters which "
            "examples were drawn, and not how wrong the models are."
        )
    return words


def _pairs(audit: Audit) -> str:
    pairs = audit.summary["pairs"]
    if not pairs:
        return "Nothing is flagged."
    more = " The first 100 are here; all are in audit.json." if len(pairs) > 100 else ""
    return f"What the flagged are labeled, and what they look like to the models.{more}"


def _copies(audit: Audit, pictures: bool) -> str:
    found = audit.summary["duplicates"]
    what = "pictures" if pictures else "rows"
    if not found["groups"]:
        return f"No {what} were found that are there twice."
    words = f"{found['copies']:,} {what} are there again, equal or nearly so, in {found['groups']:,} groups."
    conflicts = len(found["conflicts"])
    if not conflicts:
        return f"{words} In none of them do the labels differ."
    more = f", the first {GROUPS} of which are here" if conflicts > GROUPS else ""
    return f"{words} In {conflicts:,} the labels differ{more}: one at least must be wrong."


def next_steps(audit: Audit, folder: Path) -> list[tuple[str, str]]:
    """Return what to do next: what it is for, and the command."""
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
    steps = [("Go through the doubtful ones by keyboard", f"noisylabels review {place}")]
    if audit.summary["noise"] == "none":
        steps += [
            ("Write the corrected labels", f"noisylabels review {place} --export corrected.csv"),
            ("Train on them", f"noisylabels train --data {data}{more} --labels corrected.csv"),
        ]
    return steps


def _next(audit: Audit, folder: Path, pictures: bool) -> str:
    steps = next_steps(audit, folder)
    if not steps:
        return "<p>labels.csv is in the order of doubt; correct the first ones in your own data.</p>"
    return "".join(
        f"<p>{html.escape(words)}:</p><pre><code>{html.escape(command)}</code></pre>"
        for words, command in steps
    )


def _made(audit: Audit) -> dict[str, str]:
    summary, method = audit.summary, audit.summary["method"]
    made = {"data": str(summary["data"] or "arrays")}
    made["part"] = {"all": "all of it", "train": "the training part"}[summary["part"]]
    if summary["noise"] != "none":
        made["noise added"] = f"{summary['noise']}, seed {summary['seed']}"
    if summary["labels"] is not None:
        made["corrected labels"] = summary["labels"]
    if method["probs"] == "given":
        made["probabilities"] = "given; nothing was trained"
    else:
        made["probabilities"] = f"of {method['folds']} models, each trained on all folds but one"
        for name in ("model", "loss", "epochs", "batch_size", "lr", "seed"):
            if name in method:
                made["learning rate" if name == "lr" else name.replace("_", " ")] = str(method[name])
        if method["choice"] is not None:
            made["why this loss"] = method["choice"]["why"]
        made["training"] = f"{method['train_seconds']:,.0f} s"
    made["noise estimate"] = {
        "confident_joint": "confident joint",
        "confident_joint, seen": "between the confident joint, out of fold, and what the models came to see",
    }[summary["rate"]["method"]]
    made["program"] = f"noisylabels {__version__}"
    return made


_LIMITS = (
    "A model finds what stands out among labels. Where most examples of a kind are mislabeled in the same "
    "way it learns the mistake; where a class is rare, or its pictures are hard, right labels are flagged "
    "too. So look before you correct.",
    "The share of wrong labels is an estimate through the same models, and is too high where they are weak.",
)


def _terms(values: dict[str, str]) -> str:
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in values.items()
    )


def _entries(transition: dict[str, Any]) -> list[list[float]]:
    """Return what is in a matrix as true, given, share and, where they are known, its ends."""
    values = np.array(transition["matrix"])
    places = np.argwhere(values > 0)
    if len(values) > 200:  # the eye finds no more, and the page is to open
        places = places[np.argsort(-values[tuple(places.T)], kind="stable")[: 20 * len(values)]]
    ends = [] if transition["low"] is None else [np.array(transition[name]) for name in ("low", "high")]
    return [
        [i, j, round(values[i, j], 5), *(round(end[i, j], 5) for end in ends)] for i, j in places.tolist()
    ]


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
