"""The site builds without a warning, its links lead somewhere; the tutorial does what it says."""

from __future__ import annotations

import csv
import importlib
import importlib.util
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


def test_the_reference_has_every_public_name_and_argument() -> None:
    pages = api.pages()
    for name in noisylabels.__all__:
        if name not in ("__version__", "losses"):
            assert f"## `{name}` {{#{api.anchor(name)}}}" in pages["noisylabels"], name
    assert "nl.corrupt(\n    labels,\n    spec,\n    *,\n    num_classes=None,\n" in pages["noisylabels"]
    for room in ("losses", "noise"):
        module = importlib.import_module(f"noisylabels.{room}")
        for name in module.__all__:
            if callable(getattr(module, name)):
                assert f"## `{name}` " in pages[room], name
    for text in pages.values():
        assert ":math:" not in text
        assert " object at 0x" not in text


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
