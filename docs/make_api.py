"""Generate the API reference as Markdown from docstrings, one page per package.

python docs/make_api.py FOLDER     docs/make_site.py runs this for the site
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

SECTIONS = {
    "Args": "Arguments",
    "Returns": "Returns",
    "Shape": "Shape",
    "Raises": "Errors",
    "Yields": "Yields",
}

SCORES = ("rank", "self_confidence", "normalized_margin", "area_under_margin")

LOSS_FUNCTION = "nce"  # all loss functions share its arguments and add their own parameters


def pages() -> dict[str, str]:
    """Return the Markdown of each page, by name."""
    top = importlib.import_module("noisylabels")
    losses = importlib.import_module("noisylabels.losses")
    noise = importlib.import_module("noisylabels.noise")
    scores = importlib.import_module("noisylabels.audit.scores")
    names = [name for name in top.__all__ if name not in ("__version__", "losses")]
    made = {
        "noisylabels": (
            "import noisylabels as nl",
            "nl",
            "The public API. Names that the documentation does not mention may change without notice.",
            {name: getattr(top, name) for name in names},
        ),
        "losses": (
            "import noisylabels as nl",
            "nl.losses",
            "Every loss of the [catalog](../losses/all.md) whose name is an identifier is a function here. "
            f"All work like `nl.losses.{LOSS_FUNCTION}` below and take their parameters as keywords.",
            {LOSS_FUNCTION: getattr(losses, LOSS_FUNCTION)}
            | {name: getattr(losses, name) for name in losses.__all__},
        ),
        "noise": (
            "from noisylabels import noise",
            "noise",
            "Matrices are `T[true, given]`; rows sum to 1. Syntax: [Supported noise models](../noise.md).",
            {name: getattr(noise, name) for name in noise.__all__},
        ),
        "audit": (
            "from noisylabels.audit import scores",
            "scores",
            "Label quality scores in [0, 1], from labels and predicted probabilities: 0 is likely wrong.",
            {name: getattr(scores, name) for name in SCORES},
        ),
    }
    return {name: _page(name, *rest) for name, rest in made.items()}


def _page(title: str, line: str, prefix: str, about: str, things: dict[str, Any]) -> str:
    things = {name: thing for name, thing in things.items() if callable(thing)}
    rows = [f"| [`{name}`](#{anchor(name)}) | {_first(thing)} |" for name, thing in things.items()]
    lines = [f"# {title}\n", about, "", "```python", line, "```", "", "| name | |", "|---|---|", *rows, ""]
    lines += [entry(f"{prefix}.{name}", thing, anchor(name)) for name, thing in things.items()]
    return "\n".join(lines)


def anchor(name: str) -> str:
    """Return the anchor of a name on its page."""
    return name.lower().strip("_")


def _first(thing: Any) -> str:
    return inline(_doc(thing).partition("\n\n")[0].replace("\n", " "))


def _doc(thing: Any) -> str:
    text = inspect.getdoc(thing)
    if not text:
        raise ValueError(f"{thing!r} has no docstring")
    return text


def entry(name: str, thing: Any, at: str, level: int = 2) -> str:
    """Return the reference entry of a function or class as Markdown."""
    short = name.rpartition(".")[2]
    lines = [
        f"{'#' * level} `{short}` {{#{at}}}\n",
        "```python",
        signature(name, thing),
        "```\n",
        markdown(_doc(thing)),
    ]
    if inspect.isclass(thing):
        for key, member in methods(thing).items():
            lines.append(entry(f"{short}.{key}", member, f"{at}-{anchor(key)}", level + 1))
    return "\n".join(lines)


def methods(cls: type) -> dict[str, Any]:
    """Return the documented public methods and properties that a class defines itself."""
    found = {}
    for key, member in vars(cls).items():
        inner = getattr(member, "__func__", member)  # of class methods
        target = member.fget if isinstance(member, property) else inner
        public = not key.startswith("_") and (inspect.isfunction(target) or isinstance(member, property))
        if public and key != "forward" and inspect.getdoc(target):
            found[key] = member if isinstance(member, property) else target
    return found


def signature(name: str, thing: Any) -> str:
    """Return the signature as a call, with one argument per line if it is long."""
    if isinstance(thing, property):
        return name
    try:
        found = inspect.signature(thing)
    except ValueError:
        return f"{name}(...)"
    parts = [
        re.sub(r"<[^>]*>", "...", str(p.replace(annotation=p.empty)))
        for p in found.parameters.values()
        if p.name not in ("self", "cls")
    ]
    kinds = [p.kind for p in found.parameters.values() if p.name not in ("self", "cls")]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    if dataclasses.is_dataclass(thing):
        parts = [re.sub(r"=.*factory.*", "=...", part) for part in parts]
    line = f"{name}({', '.join(parts)})"
    return line if len(line) <= 88 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def markdown(doc: str) -> str:
    """Convert a docstring to Markdown: sections to lists, examples and equations to code blocks."""
    lines, out = doc.splitlines(), []
    at = 0
    while at < len(lines):
        line = lines[at]
        head = re.fullmatch(r"(\w+):", line)
        end = at + 1
        if head and head[1] in SECTIONS:
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
                end += 1
            out += [f"**{SECTIONS[head[1]]}**\n", _items(lines[at + 1 : end]), ""]
        elif line.startswith(">>>"):
            while end < len(lines) and lines[end].strip():
                end += 1
            out += ["```pycon", *lines[at:end], "```", ""]
        elif line.strip():
            while end < len(lines) and lines[end].strip() and not re.fullmatch(r"(\w+):", lines[end]):
                end += 1
            text = lines[at:end]
            out += [_equation(text) or "\n".join(inline(each) for each in text), ""]
        at = end
    return "\n".join(out)


def _equation(text: list[str]) -> str:
    """Return a paragraph as a code block if it looks like an equation and not like a sentence, else ""."""
    joined = " ".join(text)
    # only a paragraph of few lines that ends without a full stop
    if len(text) > 3 or joined.rstrip().endswith((".", ":", "?")) or joined.startswith("Source"):
        return ""
    if re.search(r" = |Σ|[^\w`]\^|\bp_", joined) and "`" not in joined:
        return "\n".join(["```text", *text, "```"])
    return ""


def _items(lines: list[str]) -> str:
    """Return the body of a section, as a list if its items are named."""
    text = inspect.cleandoc("\n".join(["", *lines]))
    items = re.split(r"\n(?=\S)", text)
    if not all(re.match(r"[*\w, `.|]+: ", item) for item in items):
        return inline(text)
    found = []
    for item in items:
        name, _, rest = item.partition(": ")
        found.append(f"- `{name.strip('`')}`: {inline(' '.join(rest.split()))}")
    return "\n".join(found)


def inline(text: str) -> str:
    """Convert inline markup to Markdown and escape HTML and table characters outside code."""
    text = re.sub(r":(?:math|class|func|meth|mod):`([^`]*)`", r"`\1`", text)
    for latex, plain in ((r"\sum", "Σ"), (r"\phi", "phi"), (r"\,", " ")):
        text = text.replace(latex, plain)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([*_|\[\]])", r"\\\1", text.replace("<", "&lt;").replace(">", "&gt;"))


def main(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
