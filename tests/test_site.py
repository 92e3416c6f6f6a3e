"""The site builds without a warning, its links lead somewhere; the tutorial does what it says."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import uuid
from pathlib import Path

import pytest

import noisylabels
import warm_process
from noisylabels.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def load(name: str):  # a script, not a package
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site, api = load("make_site"), load("make_api")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install 'noisylabels[docs]'")
    return site.build(tmp_path_factory.mktemp("site"))  # which raises for a warning or a broken link


def test_every_document_is_a_page_of_the_site_and_in_its_menu(built) -> None:
    menu = set(re.findall(r'"([\w/+.-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8")))
    pages = {f"api/{name}.md" for name in api.pages()} | set(site.documents().values())
    assert pages == menu
    for page in pages:
        folder = page.removesuffix("index.md").removesuffix(".md")
        assert (built / folder / "index.html").is_file(), page


def test_the_site_loads_nothing_from_elsewhere(built) -> None:
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//", text), path
        assert not re.search(r"<link[^>]* rel=\"?stylesheet\"?[^>]*href=\"?(?:https?:)?//", text), path


def test_broken_links_and_anchors_are_seen(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="a/">1</a><a href="#top">2</a><a href="a/#there">3</a>'
        '<a href="b/">4</a><a href="#nowhere">5</a><img src="no.svg"><a href="https://example.org/x">6</a>'
    )
    (tmp_path / "a" / "index.html").write_text('<p id="here"><a href="../#top">up</a><a href="..">up</a>')
    found = site.broken(tmp_path)
    assert [line.split(": ", 1)[1].split(" ")[0].rstrip(":") for line in found] == [
        "a/#there",
        "b/",
        "#nowhere",
        "no.svg",
    ]


def test_links_to_what_the_site_lacks_become_text(tmp_path) -> None:
    places = site.documents()

    def linked(text: str, name: str) -> str:
        return site._relinked(text, name, places[name], places, tmp_path)

    assert linked("[a](../CONTRIBUTING.md)", "docs/losses.md") == "[a](contributing.md)"
    assert linked("[a](../README.md#sources)", "docs/losses.md") == "[a](index.md#sources)"
    assert linked("[a](losses/README.md)", "docs/losses.md") == "[a](losses/all.md)"
    assert linked("[a](README.md)", "docs/losses/ce.md") == "[a](all.md)"
    assert linked("[a](docs/losses/ce.md)", "README.md") == "[a](losses/ce.md)"
    assert linked("[figures](../results/noise)", "docs/noise.md") == "figures (`results/noise`)"
    assert linked("[text.py](../examples/text.py)", "docs/loops.md") == "`examples/text.py`"
    assert linked("[a](https://example.org)", "README.md") == "[a](https://example.org)"
    assert linked("```text\n[a](../x.md)\n```", "docs/noise.md") == "```text\n[a](../x.md)\n```"
    assert linked("![a](results/digits-study/chosen-symmetric.svg)", "README.md").startswith("![a](results/")
    assert (tmp_path / "results" / "digits-study" / "chosen-symmetric.svg").is_file()


INTERNAL = {"bench.machine", "experiment.trackers", "losses.kernels"}
"""Modules whose `__all__` lists what other files of the package take from them."""


def shown() -> dict[str, dict[str, object]]:
    """Return the objects of the reference by the module that they are imported from, then by name."""
    found: dict[str, dict[str, object]] = {}
    for _, parts in api.PAGES.values():
        for part in parts:
            found.setdefault(part.module, {}).update(part.things())
    return found


def test_the_reference_has_every_public_name() -> None:
    there = shown()
    root = Path(noisylabels.__file__).parent
    listed = 0
    for path in sorted(root.rglob("*.py")):
        if "__all__ = [" not in path.read_text(encoding="utf-8"):
            continue
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if module in INTERNAL:
            continue
        listed += 1
        public = importlib.import_module(f"noisylabels.{module}".rstrip("."))
        names = {name for name in public.__all__ if not inspect.ismodule(getattr(public, name))}
        assert names - {"__version__"} <= there[module].keys(), module
    assert listed == 9


def test_the_reference_has_what_documents_and_examples_import() -> None:
    there = shown()
    found = set()
    for path in [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for module, names in re.findall(
            r"^from noisylabels\.?([\w.]*) import ([\w, ]+)$", text, re.MULTILINE
        ):
            found |= {(module, name.strip()) for name in names.split(",")}
        found |= {("", name) for name in re.findall(r"\bnl\.(\w+)[.(]", text)}
    found -= {("", "losses"), ("estimator", "NoisyLabelClassifier")}  # a module; nl.NoisyLabelClassifier
    assert len(found) > 30
    assert {(module, name) for module, name in found if name not in there.get(module, {})} == set()


def test_every_entry_of_the_reference_is_once_and_leads_somewhere() -> None:
    pages = api.pages()
    for name, (_, parts) in api.PAGES.items():
        text = pages[name]
        entries = re.findall(r"^## `(\w+)` \{#(\w+)\}$", text, re.MULTILINE)
        assert [entry for entry, _ in entries] == [each for part in parts for each in part.things()]
        anchors = re.findall(r"\{#([\w-]+)\}$", text, re.MULTILINE)
        assert len(set(anchors)) == len(anchors)
        assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= set(anchors)
        assert ":math:" not in text
        assert " object at 0x" not in text
    assert "nl.corrupt(\n    labels,\n    spec,\n    *,\n    num_classes=None,\n" in pages["noisylabels"]


def test_the_fields_of_a_configuration_are_described() -> None:
    page = api.pages()["noisylabels"]
    entry = page[page.index("## `RunConfig`") : page.index("## `RunResult`")]
    described = re.findall(r"^- `(\w+)`: \S", entry, re.MULTILINE)
    assert sorted(described) == sorted(field.name for field in dataclasses.fields(noisylabels.RunConfig))


ORDER = ("Args:", "Shape:", "Returns:", "Yields:", "Raises:")


def functions() -> dict[str, object]:
    """Return every function and class of the reference, and the methods of what users derive from or call."""
    found = {
        f"{module}.{name}".strip("."): thing
        for module, things in shown().items()
        for name, thing in things.items()
        if api.is_documented_by_itself(thing)
    }
    for name in ("Audit", "Callback", "History", "Loss", "Method", "NoisyLabelClassifier", "NoisyLabels"):
        for method, thing in api.methods(found[name]).items():
            if not isinstance(thing, property):
                found[f"{name}.{method}"] = thing
    return found


@pytest.mark.parametrize("name", sorted(functions()))
def test_an_entry_describes_every_argument_in_order(name: str) -> None:
    thing = functions()[name]
    doc = inspect.getdoc(thing)
    heads = [line for line in doc.splitlines() if line in ORDER]
    assert heads == sorted(heads, key=ORDER.index)
    described = doc + " ".join(api.field_docs(thing))
    signature = api.signature(name, thing)
    if "(" not in signature or signature.endswith("(...)"):  # a protocol, an enumeration, an exception
        return
    for argument in inspect.signature(thing).parameters.keys() - {"self", "cls"}:
        assert re.search(rf"(?<!\w){argument}(?!\w)", described), f"{name} does not describe {argument}"


def test_docstrings_become_markdown() -> None:
    doc = """Score a label, ``p_y``, by *it* and <b>.

    S = Σ_k p_k

    Args:
        labels: (N,) integers.
        train, test: two
            lines.

    Raises:
        InputError: always.

    Source: me.

    >>> 1 + 1
    2
    """
    made = api.markdown(api.inspect.cleandoc(doc))
    assert "Score a label, `p_y`, by \\*it\\* and &lt;b&gt;." in made
    assert "```text\nS = Σ_k p_k\n```" in made
    assert "**Arguments**\n\n- `labels`: (N,) integers.\n- `train, test`: two lines.\n" in made
    assert "**Errors**\n\n- `InputError`: always.\n" in made
    assert "Source: me." in made
    assert "```pycon\n>>> 1 + 1\n2\n```" in made


def test_screenshots_are_there_and_small() -> None:
    pictures = list((DOCS / "screenshots").iterdir())
    assert {path.name for path in pictures} == {"audit.webp", "review.webp"}
    assert sum(path.stat().st_size for path in pictures) < 500_000


def review_by_the_truth(folder: Path) -> None:
    """Decide on every flagged label as a person does who sees what the image shows."""
    from noisylabels.audit.review.session import Session

    with open(folder / "truth.csv", encoding="utf-8", newline="") as file:
        truth = {row["image"]: row["label"] for row in csv.DictReader(file)}
    session = Session(folder / "photos-audit", "a person")
    for position in map(int, session.audit.order):
        if session.audit.flagged[position]:
            true = session.audit.class_names.index(truth[Path(session.audit.ids[position]).name])
            action = "keep" if true == session.audit.given[position] else "chosen"
            session.decide(str(uuid.uuid4()), position, action, true)
    session.store.close()


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path, monkeypatch, capsys) -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (tmp_path / name).write_text(block, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    lines = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    assert len(lines) == 12
    printed = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    for line in lines:
        words = shlex.split(line)
        if words[0] == "pip":
            continue
        if line == "noisylabels review photos-audit":
            review_by_the_truth(tmp_path)
            continue
        if words[0] == "noisylabels":  # in this process, which has imported torch
            few = ["--epochs", "30"] if "train" in words else []
            assert main([*words[1:], *few]) == 0, line
            printed[line] = "".join(capsys.readouterr())
            continue
        done = warm_process.run(words[1:], env=environment)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        printed[line] = done.stdout + done.stderr
    audited = printed["noisylabels audit photos/ --out photos-audit"]
    low, high = map(float, re.search(r"interval ([\d.]+) to ([\d.]+) %\)", audited).groups())
    assert low < 15 < high
    labels, corrected = re.search(
        r"corrected.csv: ([\d,]+) labels, (\d+) of them corrected",
        printed["noisylabels review photos-audit --export corrected.csv"],
    ).groups()
    assert labels == "1,200"
    assert int(corrected) > 150
    accuracy = {
        name: float(share) for name, share in re.findall(r"(\w+): ([\d.]+)%", printed["python compare.py"])
    }
    assert accuracy["after"] > accuracy["ce"] + 2
    assert accuracy["after"] > 92
