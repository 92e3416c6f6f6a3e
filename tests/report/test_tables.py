"""Tables as Markdown, LaTeX, CSV and HTML, against text written by hand and programs that read them."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from noisylabels.core.checks import InputError
from noisylabels.report.tables import Number, Table, comma_separated, hypertext, latex, markdown

PLAIN = Table(
    "accuracy-symmetric",
    "Final test accuracy",
    ["loss", "clean", "0.4"],
    [
        ["ce", Number(90.1234, 0.5, 89.5, 90.75, 3), Number(51.2, n=1)],
        ["nce+mae", Number(88.0, 1.25, 86.5, 89.5, 3, bold=True), None],
        ["mae", None, "diverged"],
    ],
    "Per cent, n = 3.",
)

MARKS = 'a|b & 50 % of _x_ <b> "q" it\'s #1 $2 {c} ~d ^e \\f\ng'
HOSTILE = Table("odd", MARKS, ["loss", MARKS], [[MARKS, Number(-1.5)], ["2*nce+0.5*rce", None]], MARKS)


def test_markdown_by_hand():
    assert markdown(PLAIN) == (
        "**Final test accuracy**\n\n"
        "| loss | clean | 0.4 |\n"
        "|---|---|---|\n"
        "| ce | 90.12 ± 0.50 | 51.20 |\n"
        "| nce+mae | **88.00 ± 1.25** |  |\n"
        "| mae |  | diverged |\n"
        "\n"
        "Per cent, n = 3.\n"
    )


def rendered(line: str) -> list[str]:
    """Return the cells of a row of GitHub's Markdown as they are shown: what is escaped is text."""
    cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
    for cell in cells:
        loose = re.sub(r"\\[!-/:-@\[-`{-~]", "", cell)
        assert not re.search(r"[*<~\[\\]|(?<!\w)_|_(?!\w)|&\w+;", loose), cell
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell).strip() for cell in cells]


def test_markdown_shows_marks_as_they_are():
    title, head, rule, first, second, note = filter(None, markdown(HOSTILE).split("\n"))
    shown = MARKS.replace("\n", " ")
    assert rendered(head) == ["loss", shown]
    assert rule == "|---|---|"
    assert rendered(first) == [shown, "−1.50"]
    assert rendered(second) == ["2*nce+0.5*rce", ""]
    assert second == r"| 2\*nce+0.5\*rce |  |"
    assert rendered(f"|{note}|") == [shown]
    assert rendered(f"|{title[2:-2]}|") == [shown]
    assert (title[:2], title[-2:]) == ("**", "**")


@pytest.mark.parametrize("text", ["eps_softmax(ce,m=1e5)", "nce+mae", "human:CIFAR-10_human.pt@worse"])
def test_markdown_leaves_names_alone(text):
    assert f"| {text} |" in markdown(Table("t", "T", ["loss"], [[text]]))


LATEX_BY_HAND = {
    "a|b": r"a\textbar{}b",
    "R&D": r"R\&D",
    "50 %": r"50 \%",
    "eps_softmax": r"eps\_softmax",
    "p<0.05>": r"p\textless{}0.05\textgreater{}",
    "#1 $2 {c}": r"\#1 \$2 \{c\}",
    "~d ^e": r"\textasciitilde{}d \textasciicircum{}e",
    r"C:\new": r"C:\textbackslash{}new",
    "two\nlines": "two lines",
    "a ± b": r"a $\pm$ b",
    "−5": "$-$5",
    "run --retry": "run -{}-retry",
    "[c]": "{}[c]",
    "*": "{}*",
}


@pytest.mark.parametrize(("text", "wanted"), LATEX_BY_HAND.items())
def test_latex_escapes_by_hand(text, wanted):
    assert f"\n{wanted} \\\\\n\\bottomrule" in latex(Table("t", "T", ["x"], [[text]]))


def test_latex_by_hand():
    assert latex(PLAIN) == "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            r"\caption{Final test accuracy. Per cent, n = 3.}",
            r"\label{tab:accuracy-symmetric}",
            r"\begin{tabular}{lrr}",
            r"\toprule",
            r"loss & clean & 0.4 \\",
            r"\midrule",
            r"ce & 90.12 $\pm$ 0.50 & 51.20 \\",
            r"nce+mae & \textbf{88.00 $\pm$ 1.25} &  \\",
            r"mae &  & diverged \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
    assert r"\caption{T.}" in latex(Table("t", "T", ["x"], []))  # without a note


def test_latex_has_as_many_cells_as_columns_whatever_is_in_them():
    rows = [line for line in latex(HOSTILE).splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 1, 1]
    for row in rows:
        assert row.count("{") == row.count("}")
        assert not re.search(r"(?<!\\)[%#_]|[|<>~^]", row)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path):
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + "\n"
        f"{latex(PLAIN)}\n{latex(HOSTILE)}\n" + r"\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_has_the_numbers_unrounded_in_columns_of_their_own():
    rows = list(csv.DictReader(io.StringIO(comma_separated(PLAIN))))
    parts = ("mean", "sd", "low", "high", "n")
    assert list(rows[0]) == ["loss", *(f"{c} {p}" for c in ("clean", "0.4") for p in parts)]
    assert [rows[0][f"clean {part}"] for part in parts] == ["90.1234", "0.5", "89.5", "90.75", "3"]
    assert [rows[0][f"0.4 {part}"] for part in parts] == ["51.2", "", "", "", "1"]
    assert [rows[1][f"0.4 {part}"] for part in parts] == [""] * 5
    assert [rows[2][f"0.4 {part}"] for part in parts] == ["diverged", "", "", "", ""]
    assert float(rows[1]["clean mean"]) == 88.0  # bold is for people


def test_csv_reads_back_what_was_written():
    rows = list(csv.reader(io.StringIO(comma_separated(HOSTILE), newline="")))
    assert rows[0] == ["loss", *(f"{MARKS} {part}" for part in ("mean", "sd", "low", "high", "n"))]
    assert rows[1] == [MARKS, "-1.5", "", "", "", "1"]
    assert rows[2] == ["2*nce+0.5*rce", "", "", "", "", ""]


class Reader(HTMLParser):
    """What a browser makes of it: the tags, and the text and attributes of every cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[tuple[dict, str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append((dict(attrs), ""))
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] = (self.cells[-1][0], self.cells[-1][1] + data)


def test_html_cells_sort_by_their_number_and_tell_n_and_interval():
    cells = Reader(hypertext(PLAIN)).cells
    heads, body = cells[:3], cells[3:]
    assert [text for _, text in heads] == ["loss", "clean", "0.4"]
    assert [attrs.get("class") for attrs, _ in heads] == [None, "number", "number"]
    assert body[0] == ({"scope": "row"}, "ce")
    attrs, text = body[1]
    assert text == "90.12 ± 0.50"
    assert attrs["data-sort"] == "90.1234"
    assert attrs["title"] == "n = 3, 95 % interval 89.50 to 90.75"
    assert body[2][0]["title"] == "n = 1"  # one value has no interval
    assert body[5] == ({}, "")
    assert "<b>88.00 ± 1.25</b>" in hypertext(PLAIN)
    assert hypertext(PLAIN).count("<b>") == 1


def test_html_of_marks_is_text():
    read = Reader(hypertext(HOSTILE))
    ours = {"figure", "figcaption", "div", "table", "thead", "tr", "th", "button", "tbody", "td", "p"}
    assert set(read.tags) == ours  # and no b from <b>
    assert read.cells[1][1] == MARKS
    assert read.cells[2][1] == MARKS
    assert read.cells[3][0]["data-sort"] == "-1.5"


def test_numbers():
    assert str(Number(1.005, digits=1)) == "1.0"
    assert str(Number(-0.3, 0.123, digits=1)) == "−0.3 ± 0.1"  # a minus, no hyphen
    assert [str(Number(x, signed=True)) for x in (1.0, 0.0, -1.0)] == ["+1.00", "+0.00", "−1.00"]
    signed = hypertext(Table("t", "T", ["x", "y"], [["a", Number(1, 2, -1, 3, 4, signed=True)]]))
    assert 'title="n = 4, 95 % interval −1.00 to +3.00"' in signed


@pytest.mark.parametrize("row", [[], ["ce"], ["ce", None, None, None]])
def test_a_row_of_another_length(row):
    with pytest.raises(InputError, match=rf"a row of the table t has {len(row)} cells, expected 3"):
        Table("t", "T", ["loss", "clean", "0.4"], [["ce", None, None], row])


def test_a_table_without_rows():
    empty = Table("t", "T", ["loss", "x"], [])
    assert markdown(empty) == "**T**\n\n| loss | x |\n|---|---|\n"
    assert comma_separated(empty) == "loss,x\n"
    assert "<tbody></tbody>" in hypertext(empty)
