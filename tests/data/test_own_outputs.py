"""What noisylabels wrote into a folder of data is not read as data."""

import pytest

from noisylabels.audit.running import audit_labels
from noisylabels.data.catalog import load
from noisylabels.data.own_outputs import is_own

AUDIT, RUN = ("settings.json", "audit.json", "labels.parquet"), ("config.json", "environment.json")


def ten(kind, n=10):
    return [f"{kind}/{i}.png" for i in range(n)]


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"{}")


@pytest.mark.parametrize(
    ("names", "own"),
    [
        ([f"x/{name}" for name in AUDIT], "x"),
        (["x/settings.json", "x/folds/0.npz"], "x"),
        ([f"audits/photos-1/{name}" for name in AUDIT], "audits"),
        ([f"runs/a/{name}" for name in RUN] + ["runs/b/.lock"], "runs"),
        (["runs/s/study.json", "runs/s/.lock", *(f"runs/s/a/{name}" for name in RUN)], "runs"),
        (["audits/photos-1/.lock"], "audits"),  # while the data are read
        ([f"cat/more/{name}" for name in AUDIT], "cat/more"),
    ],
)
def test_audits_and_runs_are_no_classes(names, own, tree):
    root = tree(*ten("cat"), *ten("dog"))
    before = load(root)[0].digest
    write(root, *names)
    train, _ = load(root)
    assert train.class_names == ("cat", "dog")
    assert train.digest == before
    assert f"left out the folder {own}, written by noisylabels" in train.notes


@pytest.mark.parametrize("names", [["1.png"], ["config.json", "1.png"], [".hidden"], []])
def test_other_folders_are_not_own(names, tmp_path):
    (tmp_path / "x").mkdir()
    write(tmp_path / "x", *names)
    assert not is_own(str(tmp_path / "x"))
    assert not is_own(str(tmp_path))


def test_an_audit_in_its_data_leaves_itself_out_and_is_found_again(tree, monkeypatch):
    root = tree(*ten("cat", 20), *ten("dog", 20))
    monkeypatch.chdir(root)
    how = {"folds": 2, "epochs": 1, "model": "mlp", "device": "cpu"}
    for out in ("audits/photos", "audit"):
        first = audit_labels(".", out=out, **how)
        assert first.class_names == ("cat", "dog")
        assert audit_labels(".", out=out, **how).class_names == ("cat", "dog")
    assert load(root)[0].class_names == ("cat", "dog")
