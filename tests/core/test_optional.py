"""Packages that are missing, or installed and broken: one line, whichever needs them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import noisylabels
from noisylabels.audit.review import server
from noisylabels.core.checks import InputError
from noisylabels.core.optional import import_optional
from noisylabels.encoders.import_hub import import_transformers
from noisylabels.experiment import check_trackers
from noisylabels.models.backbones import check_timm
from noisylabels.report.theme import import_altair
from noisylabels.study import tune

BROKEN = {
    "RuntimeError": "raise RuntimeError('operator torchvision::nms does not exist')",
    "AttributeError": "import torch; torch.ops.torchvision_of_another_torch.x.y.z",
    "ImportError": "raise ImportError('undefined symbol: _ZN3c10')",
    "OSError": "raise OSError('libc10.so: cannot open shared object file')",
    "ModuleNotFoundError": "import no_such_torchvision",
}
"""What a package raises on import beside others that it does not fit."""

USERS = {
    "timm": lambda: check_timm("timm:resnet50"),
    "transformers": lambda: import_transformers("hf:folder"),
    "altair": import_altair,
    "vl_convert": import_altair,
    "optuna": tune._optuna,
    "uvicorn": lambda: server.serve(None, 0, None),
    "starlette": lambda: server.serve(None, 0, None),
    "mlflow": lambda: check_trackers(["mlflow"]),
    "wandb": lambda: check_trackers(["wandb"]),
    "tensorboard": lambda: check_trackers(["tensorboard"]),
}


def forget(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("package", USERS)
def test_a_broken_package_is_one_line(package: str, how: str, tmp_path: Path, monkeypatch):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(BROKEN[how] + "\n")
    forget(package, monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="installed") as caught:
        USERS[package]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", USERS)
def test_a_missing_package_names_what_to_install(package: str, monkeypatch):
    forget(package, monkeypatch)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match="pip install"):
        USERS[package]()


def test_too_little_memory_is_no_broken_package(tmp_path: Path, monkeypatch):
    (tmp_path / "large.py").write_text("raise MemoryError\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MemoryError):
        import_optional("large", "")


def test_a_package_that_is_there():
    assert import_optional("json.decoder", "") is sys.modules["json.decoder"]


OPTIONAL = {"timm", "transformers", "altair", "vl_convert", "optuna", "uvicorn", "jinja2", "markupsafe"}


def test_optional_packages_are_imported_through_the_door():
    """Further imports of a package that has been imported by the door are free."""
    root = Path(noisylabels.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for node in (each for each in nodes if isinstance(each, ast.Try)):
            if "ImportError" in " ".join(map(ast.unparse, node.handlers)):
                imports = [each for each in node.body if isinstance(each, ast.Import)]
                names = {alias.name.split(".")[0] for each in imports for alias in each.names}
                found += [f"{path.relative_to(root)}: {name}" for name in names & OPTIONAL]
    assert found == []
