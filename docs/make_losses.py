"""Make docs/losses: a page a loss, its figure, and the table of all, from the catalog.

python docs/make_losses.py

Run it by hand after a change of the catalog; tests/losses/test_pages.py holds the pages to it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from noisylabels.losses import LOSSES, PER_LABEL, PRESETS, WRAPPERS, loss
from noisylabels.losses.curve import curve
from noisylabels.losses.explain import explain, share
from noisylabels.losses.forms import FORMS
from noisylabels.losses.functional import domain, in_words
from noisylabels.losses.presets import with_ln

FOLDER = Path(__file__).parent / "losses"

K = 10
POINTS = 61

HEAD = "<!-- Made by docs/make_losses.py from the catalog: edit that, not this. -->\n"


def subjects() -> dict[str, list[str]]:
    """Return the pages, and on each the entries of the catalog that it is about."""
    pages = {
        name: [form.prefix + name for form in FORMS.values() if form.prefix + name in LOSSES]
        for name in PER_LABEL
    }
    pages |= {name: [name] for name in WRAPPERS}
    covered = {name for names in pages.values() for name in names}
    return pages | {name: [name] for name in LOSSES if name not in covered}


def page(name: str, entries: list[str]) -> str:
    """Return the page of a loss as Markdown."""
    lines = [HEAD, f"# {_title(name)}: {', '.join(f'`{entry}`' for entry in entries)}\n"]
    lines += [f"{LOSSES[name].use}\n"]
    if name in PER_LABEL:
        others = "" if len(entries) > 1 else " It has no normalized and negative forms: it looks at all of p."
        lines += [f"`{name}` is a per-label function, read in {_count(len(entries))}.{others}\n"]
    elif name in WRAPPERS:
        lines += [f"`{name}(LOSS)` wraps any loss or sum; by its name alone it is `{name}(ce)`.\n"]
    else:
        stands = f"It stands for `{LOSSES[name].template}`. " if LOSSES[name].defaults else ""
        lines += [f"{stands}Source: {LOSSES[name].source}.\n"]
    lines += [f"![Value and gradient of {', '.join(drawn(name, entries))}]({name}.svg)\n"]
    for entry in entries:
        facts = explain(loss(entry), K)
        lines += [f"## `{entry}`: {LOSSES[entry].title}\n"]
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| {head} | {_cell(body, code=head == 'value at label y')} |" for head, body in facts.items()
        ]
        lines += [f"| use | {_cell(LOSSES[entry].use)} |\n" if entry != name else ""]
    lines += [_parameters(name), _presets(entries), _code(name, entries)]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"


def _title(name: str) -> str:
    title = LOSSES[name].title
    return title[0].upper() + title[1:]


def _count(number: int) -> str:
    return {1: "one way", 3: "three ways"}[number]


def _cell(text: str, code: bool = False) -> str:
    text = text.replace("|", "\\|")
    return f"`{text}`" if code else text


def _parameters(name: str) -> str:
    entry = LOSSES[name]
    if not entry.defaults:
        return ""
    limits = {key: in_words(found) for key, found in domain(entry).items()}
    rows = [f"| `{key}` | {value:.10g} | {limits[key]} |" for key, value in entry.defaults.items()]
    return "\n".join(["## Parameters\n", "| name | default | range |", "|---|---|---|", *rows, ""])


def _presets(entries: list[str]) -> str:
    rows = [
        f"| `{name}@{key}` | `{with_ln(loss(row.expression).expression)}` | {row.note} | {row.source} |"
        for name in entries
        for key, row in PRESETS.get(name, {}).items()
    ]
    if not rows:
        return ""
    return "\n".join(
        [
            "## Constants of the literature\n",
            "| write | for | beside it | source |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _code(name: str, entries: list[str]) -> str:
    first = entries[0]
    call = f"nl.losses.{first}" if first.isidentifier() else f'nl.losses.function("{first}")'
    given = "".join(f", {key}={value:.10g}" for key, value in LOSSES[first].defaults.items())
    lines = [
        "## In code\n",
        "```python",
        "import torch",
        "import noisylabels as nl\n",
        "logits, target = torch.randn(8, 10), torch.randint(10, (8,))",
        f'nl.loss("{first}")(logits, target)',
        f"{call}(logits, target{given})",
    ]
    if name in WRAPPERS:
        lines += [f'nl.loss("{name}(ce+mae{given})")(logits, target)']
    if "two views" in loss(name).needs:
        lines += [f'nl.loss("{name}")((logits, logits + 0.1), target)  # of two augmentations of an image']
    return "\n".join(
        [*lines, "```\n", f"On the command line: `noisylabels loss {name}`. [All losses](README.md)."]
    )


def index() -> str:
    """Return the table of all losses as Markdown."""
    lines = [
        HEAD,
        "# All losses\n",
        "[What to take when, and how to use them](../losses.md). At 10 classes.",
        "*Asymmetric from*: how many times the true label must outweigh any other for the certain, right",
        "prediction to be an optimum (inf: it never is). *Certain optimum*: up to which rates it is; flips",
        "to one class are asymmetric noise. The largest class of the optimum may be right beyond these",
        "rates: the optimum of `ce` is p = the shares of the labels, and its largest class the most",
        "frequent label at any rate. A star: there are optima whose largest class is wrong as well.\n",
        "| loss | what | kind | symmetric | asymmetric from | certain optimum | range |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entries in subjects().items():
        for entry in entries:
            made = loss(entry)
            times, facts = made.dominance(K), explain(made, K)
            cells = [
                f"[`{entry}`]({name}.md)",
                LOSSES[entry].title,
                made.kind,
                facts["symmetric"].partition(":")[0],
                ("?" if times is None else share(times)) + (" \\*" if "other optima" in facts else ""),
                facts["certain optimum"].partition(", in theory")[0].removeprefix("for "),
                facts["range"].partition(" for ")[0],
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def drawn(name: str, entries: list[str]) -> list[str]:
    """Return the losses in the figure of a page: the forms, a sum with its parts, a wrapper with none."""
    if name in PER_LABEL:
        return with_ce(entries)
    if name in WRAPPERS:
        return [f"{name}(ce)", *(["ls(ce,r=-0.4)"] if name == "ls" else []), "ce"]
    return [name, *(str(term) for term in loss(name).terms)]


def with_ce(names: list[str]) -> list[str]:
    """Return the losses of a figure, with cross entropy beside one that would stand alone."""
    return names if len(names) > 1 else [*names, "ce"]


def thinned(expression: str) -> dict[str, list[float]]:
    """Return the curve of a loss at few points, dense at both ends, where curves bend."""
    full = curve(loss(expression), K, 1001)
    at = sorted({round(500 * (1 - math.cos(math.pi * i / (POINTS - 1)))) for i in range(POINTS)})
    return {key: [round(values[i], 6) for i in at] for key, values in full.items()}


_LINE = r'<line transform="translate\(([^)]*)\)" x2="([^"]*)" y2="([^"]*)" stroke="([^"]*)"/>'


def _one_path(run: re.Match[str]) -> str:
    """Return lines of one color as one path."""
    lines = re.findall(_LINE, run[0])
    strokes = dict.fromkeys(stroke for *_, stroke in lines)
    paths = {
        stroke: "".join(f"M{start}l{x},{y}" for start, x, y, each in lines if each == stroke)
        for stroke in strokes
    }
    return "".join(f'<path d="{path}" stroke="{stroke}"/>' for stroke, path in paths.items())


def slim(svg: str) -> str:
    """Return an SVG that looks the same with half the text."""
    svg = re.sub(r' (aria-[a-z]+|role|pointer-events|class)="[^"]*"', "", svg)
    svg = (
        svg.replace(' opacity="1"', "").replace(' stroke-width="1"', "").replace(' font-weight="normal"', "")
    )
    svg = re.sub(r'<path d="(M0,0h0v0h0Z)?"( display="none")?/>', "", svg)
    # coordinates, which stand inside of tags; the numbers between tags are those of the axes
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", tag[0]), svg)
    svg = re.sub(f"(?:{_LINE})+", _one_path, svg)
    fonts = re.findall(r' font-family="[^"]*"', svg)
    return svg.replace(fonts[0], "").replace("<svg", "<svg" + fonts[0], 1) if fonts else svg


def main() -> None:
    """Write pages, figures and the table; take away what is no longer of the catalog."""
    from noisylabels.core.files import atomic_replace
    from noisylabels.report.figures import loss_sheet, save

    FOLDER.mkdir(exist_ok=True)
    texts = {"README": index()} | {name: page(name, entries) for name, entries in subjects().items()}
    for name, text in texts.items():
        with atomic_replace(FOLDER / f"{name}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name, entries in subjects().items():
        picture = FOLDER / f"{name}.svg"
        save(loss_sheet({each: thinned(each) for each in drawn(name, entries)}, K), picture)
        picture.write_text(slim(picture.read_text(encoding="utf-8")) + "\n", encoding="utf-8")
    for old in FOLDER.iterdir():
        if old.stem not in texts:
            old.unlink()


if __name__ == "__main__":
    main()
