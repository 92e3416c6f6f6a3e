"""What pyproject.toml packs and declares; `make check-dist` builds and installs for real."""

import importlib.util
import json
import re
import runpy
import sys
import tomllib
import types
from fnmatch import fnmatch
from pathlib import Path

import pytest

import noisylabels as nl

ROOT = Path(__file__).parents[2]

spec = importlib.util.spec_from_file_location("check_dist", Path(__file__).with_name("check_dist.py"))
check_dist = importlib.util.module_from_spec(spec)  # a script, not a package
spec.loader.exec_module(check_dist)


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_sdist_holds_what_the_wheel_is_built_from(pyproject):
    sdist = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all(pattern.startswith("/") and pattern.count("/") == 1 for pattern in sdist)
    project = pyproject["project"]
    named = ["hatch_build.py", "README.md", *project["license-files"]]
    named.append(pyproject["tool"]["hatch"]["version"]["path"])
    package = ROOT / "src" / "noisylabels"
    sources = [path for path in package.rglob("*") if path.is_file() and path.suffix not in {".pyc", ".so"}]
    kinds = {path.suffix for path in sources}
    assert kinds >= {".py", ".c", ".toml", ".csv", ".css", ".js", ".html", ".j2", ".svg", ".typed"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    anywhere = [pattern.strip("/") for pattern in ignored if not pattern.startswith("/")]
    for path in [*(ROOT / name for name in named), *sources]:
        assert path.is_file(), path
        parts = path.relative_to(ROOT).parts
        assert any(fnmatch(parts[0], pattern.strip("/")) for pattern in sdist), path
        assert not any(fnmatch(part, pattern) for part in parts for pattern in anywhere), path


def test_the_sdist_holds_what_the_tests_read(pyproject):
    sdist = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    needed = [
        "Makefile",
        "constraints.txt",
        "zensical.toml",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
    ]
    for name in [*needed, "docs", "examples", "benchmarks", "results", "tests"]:
        assert any(fnmatch(name, pattern.strip("/")) for pattern in sdist), name


def test_the_build_hook_names_the_folder_of_the_kernels():
    hook = (ROOT / "hatch_build.py").read_text(
        encoding="utf-8"
    )  # it imports hatchling, which only a build has
    (folder,) = re.findall(r'^KERNELS = Path\("(.+)"\)$', hook, re.MULTILINE)
    assert (ROOT / folder / "native.c").is_file()
    assert "def compile_native(" in (ROOT / folder / "compile_native.py").read_text(encoding="utf-8")


@pytest.fixture
def hooks(monkeypatch):
    """Return the names of hatch_build.py, whose base classes only a build has."""
    for name, base in (("builders.hooks", "BuildHookInterface"), ("metadata", "MetadataHookInterface")):
        stub = types.SimpleNamespace(**{base: object})
        monkeypatch.setitem(sys.modules, f"hatchling.{name}.plugin.interface", stub)
    return types.SimpleNamespace(**runpy.run_path(str(ROOT / "hatch_build.py")))


MARKDOWN = """![A page](docs/page.webp)

See [the guide](docs/guide.md#part), [it](https://example.org/x), [below](#part) and [a.md](a.md).

```python
x[0](1)
```
"""


def test_an_index_gets_links_to_the_tag(hooks):
    there = "https://example.org/owner/name"
    assert hooks.with_absolute_links(MARKDOWN, there, "v1.2") == (
        f"![A page]({there}/raw/v1.2/docs/page.webp)\n\n"
        f"See [the guide]({there}/blob/v1.2/docs/guide.md#part), [it](https://example.org/x), [below](#part) "
        f"and [a.md]({there}/blob/v1.2/a.md).\n\n```python\nx[0](1)\n```\n"
    )
    assert hooks.addresses(there, "v1.2")["Changelog"] == f"{there}/blob/v1.2/CHANGELOG.md"


def test_without_an_address_an_index_gets_text(hooks):
    assert hooks.with_absolute_links(MARKDOWN, "", "v1.2").lstrip() == (
        "See the guide (`docs/guide.md`), [it](https://example.org/x), [below](#part) and a.md.\n\n"
        "```python\nx[0](1)\n```\n"
    )
    assert hooks.addresses("", "v1.2") == {}


def test_the_readme_of_an_index_has_no_relative_link(hooks, pyproject):
    repository = pyproject["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
    assert {"version", "readme", "urls"} == set(pyproject["project"]["dynamic"])
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(check_dist.relative_links(text)) > 20
    for address in (repository, "https://example.org/owner/name"):
        made = hooks.with_absolute_links(text, address, "v1")
        assert check_dist.relative_links(made) == []
        assert made.count("```") == text.count("```")


def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [nl.__version__]


def test_the_workflow_runs_every_python_that_the_metadata_names(pyproject):
    classifiers = pyproject["project"]["classifiers"]
    named = [found[1] for text in classifiers if (found := re.fullmatch(r".*Python :: (3\.\d+)", text))]
    assert pyproject["project"]["requires-python"] == f">={named[0]}"
    workflow = ROOT / ".github" / "workflows" / "test.yml"
    if not workflow.exists():
        pytest.skip("an sdist has no workflows")
    (matrix,) = re.findall(r"python: (\[.+\])", workflow.read_text(encoding="utf-8"))
    assert json.loads(matrix) == named
