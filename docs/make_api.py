"""Generate the API reference as Markdown from docstrings, one page per package.

python docs/make_api.py FOLDER     docs/make_site.py runs this for the site
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

SECTIONS = {
    "Args": "Arguments",
    "Returns": "Returns",
    "Shape": "Shape",
    "Raises": "Errors",
    "Yields": "Yields",
}

LOSS_FUNCTION = "nce"  # all loss functions share its arguments and add their own parameters


class Part(NamedTuple):
    """Public names of one module.

    Args:
        module: its name within `noisylabels`, "" for the package itself.
        names: those that the reference shows; all of its ``__all__`` by default.
        alias: what stands before the names in signatures; the last word of the module by default.
        line: how it is imported; by default the names, or the module if it has ``__all__``.
    """

    module: str
    names: tuple[str, ...] = ()
    alias: str = ""
    line: str = ""

    def things(self) -> dict[str, Any]:
        """Return the objects by name, without the version and without modules."""
        module = importlib.import_module(f"noisylabels.{self.module}".rstrip("."))
        names = self.names or tuple(module.__all__)
        found = {name: getattr(module, name) for name in names if name != "__version__"}
        return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}

    def imported(self) -> str:
        """Return the line that imports the names."""
        if self.line:
            return self.line
        if not self.names:
            package, _, last = f"noisylabels.{self.module}".rpartition(".")
            return f"from {package} import {last}"
        names = ", ".join(self.names)
        line = f"from noisylabels.{self.module} import {names}"
        if len(line) <= 88:
            return line
        listed = "".join(f"    {name},\n" for name in self.names)
        return f"from noisylabels.{self.module} import (\n{listed})"

    def prefix(self) -> str:
        """Return what stands before the names in signatures, with a dot at its end or empty."""
        if self.alias or not self.names:
            return (self.alias or self.module.rpartition(".")[2]) + "."
        return ""


NL = "import noisylabels as nl"

PAGES: dict[str, tuple[str, tuple[Part, ...]]] = {
    "noisylabels": (
        "The package itself. The names on the pages of this reference are public; others may change without "
        "notice.",
        (Part("", alias="nl", line=NL),),
    ),
    "losses": (
        "Every loss of the [catalog](../losses/all.md) whose name is an identifier is a function here. "
        f"All work like `nl.losses.{LOSS_FUNCTION}` below and take their parameters as keywords.",
        (
            Part("losses", (LOSS_FUNCTION,), alias="nl.losses", line=NL),
            Part("losses", alias="nl.losses", line=NL),
        ),
    ),
    "noise": (
        "Matrices are `T[true, given]`; rows sum to 1. Syntax: [Supported noise models](../noise.md).",
        (Part("noise"),),
    ),
    "models": ("Networks by name: see [Models](../models.md).", (Part("models"),)),
    "training": (
        "What a [training method or callback](../methods.md) of your own uses beside `nl.Method` and "
        "`nl.Callback`, and what reads the history and the dynamics of a run.",
        (
            Part("training.method", ("ParameterGroup", "Setup", "trainable")),
            Part("training.callbacks", ("PauseWhen", "Probe", "RunStart", "StepResult")),
            Part("training.history", ("best_epoch", "chosen_epoch")),
            Part("training.dynamics"),
        ),
    ),
    "experiment": (
        "Runs from configurations, as the command line starts them; `nl.run` is the short way.",
        (Part("experiment"),),
    ),
    "audit": (
        "Label quality scores in [0, 1], from labels and predicted probabilities: 0 is likely wrong. Then "
        "what an [audit](../audit.md) derives from them.",
        (
            Part(
                "audit.scores",
                ("rank", "self_confidence", "normalized_margin", "area_under_margin"),
                alias="scores",
                line="from noisylabels.audit import scores",
            ),
            Part("audit.issues", ("Issues", "find_issues")),
            Part("audit.audited_data", ("load_examples",)),
        ),
    ),
    "study": (
        "[Studies](../study.md) of many runs, their results, statistics and reports.",
        (
            Part("study"),
            Part(
                "study.results",
                (
                    "Results",
                    "Run",
                    "accuracy",
                    "chosen_accuracy",
                    "dead",
                    "decline",
                    "epoch_seconds",
                    "gap",
                    "instability",
                    "memorized",
                    "read_results",
                ),
            ),
            Part(
                "study.statistics",
                ("Contrast", "Paired", "Ranks", "Summary", "compare", "contrast", "rank", "summarize"),
            ),
            Part("study.reporting", ("write_report",)),
            Part("study.tune", ("Tried", "Tuned", "tune")),
            Part("report.tables", ("Number", "Table", "comma_separated", "latex", "markdown")),
        ),
    ),
    "claims": (
        "[Claims of your own](../claims-own.md) about the results of a study.",
        (Part("study.claims"),),
    ),
    "published": (
        "[Published results](../published.md) as data, and a study's beside them.",
        (
            Part("paper.published", alias="published"),
            Part("paper.published_tables", ("literature_table", "paper_literature_table", "paper_tables")),
            Part(
                "paper.published_methods",
                ("MethodComparison", "comparable_methods", "compare_methods", "method_tables"),
            ),
        ),
    ),
}
"""The pages of the reference: what stands at the top, and the public names."""


def pages() -> dict[str, str]:
    """Return the Markdown of each page, by name."""
    return {name: _page(name, *rest) for name, rest in PAGES.items()}


def _page(title: str, about: str, parts: tuple[Part, ...]) -> str:
    lines = [f"# {title}\n", about, ""]
    at = {(part, name): anchor(name) for part in parts for name in part.things()}
    if len(set(at.values())) < len(at):
        raise ValueError(f"the page {title} has two entries with one anchor; move one to another page")
    for line in dict.fromkeys(part.imported() for part in parts):
        rows = [
            f"| [`{name}`](#{at[part, name]}) | {_first(part.module, name, thing)} |"
            for part in parts
            if part.imported() == line
            for name, thing in part.things().items()
        ]
        lines += ["```python", line, "```", "", "| name | |", "|---|---|", *rows, ""]
    for part in parts:
        for name, thing in part.things().items():
            lines.append(_entry(part, name, thing))
    return "\n".join(lines)


def _entry(part: Part, name: str, thing: Any) -> str:
    if is_documented_by_itself(thing):
        return entry(f"{part.prefix()}{name}", thing, anchor(name))
    shown = f" = {thing!r}" if isinstance(thing, (str, int, float)) else ""
    head = [f"## `{name}` {{#{anchor(name)}}}\n", "```python", f"{part.prefix()}{name}{shown}", "```\n"]
    return "\n".join([*head, markdown(constant_doc(part.module, name)), ""])


def is_documented_by_itself(thing: Any) -> bool:
    """Return whether an object is a function or a class, and no constant."""
    return inspect.isclass(thing) or inspect.isroutine(thing)


def constant_doc(module: str, name: str) -> str:
    """Return the string below the assignment of a constant, in the module where it is made.

    Raises:
        ValueError: the constant has none.
    """
    source = Path(importlib.import_module(f"noisylabels.{module}".rstrip(".")).__file__ or "")
    body = ast.parse(source.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.ImportFrom) and any(name == each.name for each in node.names):
            return constant_doc((node.module or "").removeprefix("noisylabels").strip("."), name)
    for node, after in itertools.pairwise([*body, ast.Pass()]):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        below = after.value if isinstance(after, ast.Expr) else None
        named = any(isinstance(each, ast.Name) and each.id == name for each in targets)
        if named and isinstance(below, ast.Constant) and isinstance(below.value, str):
            return inspect.cleandoc(below.value)
    raise ValueError(f"{module}.{name} has no docstring below it")


def anchor(name: str) -> str:
    """Return the anchor of a name on its page, in its case: `Method` is not `method`."""
    return name.strip("_")


def _first(module: str, name: str, thing: Any) -> str:
    doc = _doc(thing) if is_documented_by_itself(thing) else constant_doc(module, name)
    return inline(doc.partition("\n\n")[0].replace("\n", " "))


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
    if fields := field_docs(thing):
        lines += ["**Arguments**\n" if dataclasses.is_dataclass(thing) else "**Fields**\n"]
        lines += [*(f"- `{field}`: {inline(' '.join(text.split()))}" for field, text in fields.items()), ""]
    if inspect.isclass(thing):
        for key, member in methods(thing).items():
            lines.append(entry(f"{short}.{key}", member, f"{at}-{anchor(key)}", level + 1))
    return "\n".join(lines)


def field_docs(thing: Any) -> dict[str, str]:
    """Return the string below, or else the comment beside, each field of a class without a list in its text.

    Inherited fields come first, as in the signature.
    """
    if not inspect.isclass(thing) or "Args:" in _doc(thing).splitlines():
        return {}
    found: dict[str, str] = {}
    for cls in reversed(thing.__mro__):
        if not cls.__module__.startswith("noisylabels"):
            continue
        source = inspect.cleandoc("\n" + inspect.getsource(cls))
        (tree,) = ast.parse(source).body
        assert isinstance(tree, ast.ClassDef)
        for node, after in itertools.pairwise([*tree.body, ast.Pass()]):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if not isinstance(target, ast.Name) or target.id.startswith("_"):
                continue
            below = after.value if isinstance(after, ast.Expr) else None
            beside = source.splitlines()[(node.end_lineno or 0) - 1].partition("  # ")[2]
            text = below.value if isinstance(below, ast.Constant) and isinstance(below.value, str) else beside
            if text:
                found[target.id] = text
    return found


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
    if isinstance(thing, property) or (
        inspect.isclass(thing) and (issubclass(thing, enum.Enum) or getattr(thing, "_is_protocol", False))
    ):
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
