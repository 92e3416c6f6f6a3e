"""Tables: rows of text and of numbers with their spread, as Markdown, LaTeX, CSV or HTML."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisylabels.core.checks import InputError
from noisylabels.core.delimited import CellWriter


@dataclass(frozen=True)
class Number:
    """A mean in a table.

    Args:
        mean: in the unit that is printed.
        deviation: sample standard deviation, or None for one value.
        low, high: the 95 % interval of the mean, or None for one value; written to the CSV.
        n: number of values; None if unknown.
        bold: True to print it in bold.
        signed: print a + before numbers that are not negative.
        digits: number of decimals.
    """

    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = 1
    bold: bool = False
    signed: bool = False
    digits: int = 2

    def __str__(self) -> str:
        mean = _minus(f"{self.mean:{'+' if self.signed else ''}.{self.digits}f}")
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{self.digits}f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


Cell = str | Number | None


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: the name of its files, such as "table1-symmetric".
        title: one line.
        columns: one title per cell of a row; the first column names the rows.
        rows: cells; None for an empty one.
        note: facts that a reader needs: unit, n, the meaning of bold.

    Raises:
        InputError: a row with another number of cells.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"a row of the table {self.name} has {len(row)} cells, expected {len(self.columns)}"
                )


def markdown(table: Table) -> str:
    """Return a table as GitHub's Markdown, its title above and its note below."""

    def text(words: str) -> str:
        return re.sub(_MARKDOWN, r"\\\g<0>", words).replace("\n", " ")

    def cell(value: Cell) -> str:
        written = "" if value is None else text(str(value))
        return f"**{written}**" if isinstance(value, Number) and value.bold else written

    lines = [
        "| " + " | ".join(cell(column) for column in table.columns) + " |",
        "|" + "---|" * len(table.columns),
        *("| " + " | ".join(map(cell, row)) + " |" for row in table.rows),
    ]
    return "\n\n".join(filter(None, [f"**{text(table.title)}**", "\n".join(lines), text(table.note)])) + "\n"


_MARKDOWN = r"[\\*<|~\[]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])"
"""Characters to escape in Markdown, so that 2*nce+0.5*rce is no emphasis. Underscores within words and the
backticks of commands in notes are kept."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
}


def latex(table: Table) -> str:
    """Return a table as a LaTeX float; it needs the package booktabs."""

    def text(value: str) -> str:
        return "".join(_LATEX.get(mark, mark) for mark in value).replace("--", "-{}-")  # no en dash

    def cell(value: Cell) -> str:
        written = "" if value is None else text(str(value))
        return rf"\textbf{{{written}}}" if isinstance(value, Number) and value.bold else written

    def row(cells: Iterable[str]) -> str:
        # LaTeX could read [ or * after \\ as its argument
        return re.sub(r"^(?=[\[*])", "{}", " & ".join(cells)) + r" \\"

    numeric = _numeric(table)
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{text(f'{table.title}. {table.note}'.strip())}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
            r"\toprule",
            row(map(text, table.columns)),
            r"\midrule",
            *(row(map(cell, cells)) for cells in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(table: Table, escape_formulas: bool = False) -> str:
    """Return a table as CSV; a column of numbers becomes five, unrounded: mean, sd, low, high and n.

    Args:
        table: the table.
        escape_formulas: write cells so that a spreadsheet runs no formula, see
            `core.delimited.without_formula`.
    """
    numeric = _numeric(table)
    parts = ("mean", "sd", "low", "high", "n")
    out = io.StringIO()
    writer = CellWriter(out, escape_formulas=escape_formulas)
    writer.row(
        [
            name
            for column, number in zip(table.columns, numeric, strict=True)
            for name in ([f"{column} {part}" for part in parts] if number else [column])
        ]
    )
    for row in table.rows:
        cells: list[object] = []
        for value, number in zip(row, numeric, strict=True):
            if isinstance(value, Number):
                cells += [value.mean, value.deviation, value.low, value.high, value.n]
            elif number:
                cells += ["" if value is None else value, "", "", "", ""]
            else:
                cells.append("" if value is None else value)
        writer.row(cells)
    return out.getvalue()


def _numeric(table: Table) -> list[bool]:
    return [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.columns))]


LONG = 60
"""A table with a longer text, in characters, shows its rows as cards on small screens."""


def hypertext(table: Table) -> str:
    """Return a table as HTML, in which each cell has the value to sort by."""
    texts = [cell for row in table.rows for cell in row if isinstance(cell, str)]
    wordy = any(len(text) > LONG for text in texts)
    small = not wordy and len(table.columns) <= 5
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}><button type="button">{html.escape(column)}'
        "</button></th>"
        for column, number in zip(table.columns, _numeric(table), strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_hypertext, range(len(row)), row))}</tr>" for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    classes = "table" + (" wordy" if wordy else "") + (" single" if small else "")
    return (
        f'<figure class="{classes}" id="{html.escape(table.name)}"><figcaption>{html.escape(table.title)}'
        f'</figcaption><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div>{note}</figure>"
    )


def _hypertext(place: int, value: Cell) -> str:
    if not isinstance(value, Number):
        text = html.escape(value or "")
        word = f' data-word="{text}"' if value and len(value) < 20 else ""
        return f'<th scope="row">{text}</th>' if place == 0 else f"<td{word}>{text}</td>"
    known = [] if value.n is None else [f"n = {value.n}"]
    if value.low is not None and value.high is not None:
        ends = (Number(end, signed=value.signed, digits=value.digits) for end in (value.low, value.high))
        known.append("95 % interval " + " to ".join(map(str, ends)))
    text = f"<b>{html.escape(str(value))}</b>" if value.bold else html.escape(str(value))
    return f'<td class="number" data-sort="{value.mean:.9g}" title="{", ".join(known)}">{text}</td>'
