"""What pyproject.toml packs and declares; `make check-dist` builds and installs for real."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import noisylabels as nl

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_sdist_holds_what_the_wheel_is_built_from(pyproject):
    sdist = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all(pattern.startswith("/") and pattern.count("/") == 1 for pattern in sdist)
    project = pyproject["project"]
    named = ["hatch_build.py", project["readme"], *project["license-files"]]
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
