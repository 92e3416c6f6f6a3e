"""Named data sets: where they are searched for, and the download of missing files."""

import dataclasses
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json
from noisylabels.data import catalog, idx
from noisylabels.data.catalog import DATA, download, load


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small mnist on a server of this machine; yields the served folder, whose files can be changed."""
    folder = tmp_path / "served"
    folder.mkdir()
    random = np.random.default_rng(3)
    contents = []
    for part, n in (("train", 60), ("t10k", 20)):
        for name, array in (
            (f"{part}-images-idx3-ubyte", random.integers(0, 256, (n, 28, 28), dtype=np.uint8)),
            (f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8)),
        ):
            contents.append(idx_bytes(array))
            (folder / f"{name}.gz").write_bytes(gzip.compress(contents[-1], mtime=0))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    known = dataclasses.replace(
        idx.MNIST,
        urls=(f"http://127.0.0.1:{server.server_port}/gone/", f"http://127.0.0.1:{server.server_port}/"),
        content=tuple(hashlib.md5(one).hexdigest() for one in contents),
        sizes=tuple(len(gzip.compress(one, mtime=0)) for one in contents),
        packed=tuple(hashlib.md5(gzip.compress(one, mtime=0)).hexdigest() for one in contents),
    )
    published = dataclasses.replace(DATA["mnist"].published, plan=known.plan, files=known.files)
    row = dataclasses.replace(DATA["mnist"], read=published.read, published=published)
    monkeypatch.setitem(catalog.DATA._rows, "mnist", row)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_load_downloads_into_the_cache_and_finds_it_there(served, cache):
    with pytest.raises(
        InputError, match=r"mnist needs a folder: run `noisylabels download mnist` or use --download"
    ):
        load("mnist")
    train, test = nl.load("mnist", download=True)
    assert (len(train), len(test)) == (60, 20)
    assert (cache / "downloads" / "mnist" / "train-images-idx3-ubyte.gz").is_file()
    for file in served.iterdir():
        file.unlink()
    assert load("mnist")[0].digest == train.digest
    assert load("mnist", download=True)[0].digest == train.digest  # nothing is asked for
    assert download("mnist") == cache / "downloads" / "mnist"


def test_a_folder_named_by_the_variable_comes_first(served, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "mine"))
    assert download("mnist") == tmp_path / "mine" / "mnist"
    assert not (cache / "downloads").exists()
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"no mnist in .*empty or, within it, mnist/.*; run `noisylabels"):
        load("mnist")
    monkeypatch.delenv("NOISYLABELS_DATA")
    download("mnist")
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path / "empty"))
    assert len(load("mnist")[0]) == 60  # the cache's is looked at too
    assert download("mnist") == cache / "downloads" / "mnist"
    with pytest.raises(InputError, match="no mnist in"):
        load("mnist", tmp_path / "empty")  # but not if a root is named


def test_only_what_is_missing_or_damaged_is_fetched_again(served, tmp_path):
    place = download("mnist", tmp_path / "root")
    digest = load("mnist", tmp_path / "root")[0].digest
    labels, images = place / "train-labels-idx1-ubyte.gz", place / "train-images-idx3-ubyte.gz"
    labels.unlink()
    images.write_bytes(images.read_bytes()[:-9])
    kept = place / "t10k-images-idx3-ubyte.gz"
    (served / kept.name).unlink()
    with pytest.raises(InputError):
        load("mnist", tmp_path / "root")
    assert load("mnist", tmp_path / "root", download=True)[0].digest == digest


def test_a_copy_of_the_users_own_is_left_alone(served, tmp_path):
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in served.iterdir():
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert download("mnist", tmp_path / "root") == raw
    assert len(load("mnist", tmp_path / "root", download=True)[0]) == 60
    assert not (tmp_path / "root" / "mnist").exists()


def test_an_incomplete_copy_is_passed_over_once_there_is_a_whole_one(served, tmp_path):
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes((served / "train-images-idx3-ubyte.gz").read_bytes())
    assert download("mnist", tmp_path / "root") == tmp_path / "root" / "mnist"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "unknown data set 'minst'; did you mean 'mnist'"),
        ("digits", "digits comes with scikit-learn; there is nothing to download"),
        ("clothing1m", "clothing1m cannot be downloaded automatically: get http"),
    ],
)
def test_what_is_not_downloaded(name, message, tmp_path, capsys):
    assert main(["download", name, "--root", str(tmp_path / "root")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "root").exists()


def test_what_is_not_downloaded_may_be_there(tree, tmp_path):
    root = tree(*(f"training/{i}_{i}.jpg" for i in range(3)), "testing/0_9.jpg", root="ANIMAL-10N")
    assert download("animal10n", root.parent) == root
    assert len(load("animal10n", root.parent, download=True)[0]) == 3
    with pytest.raises(InputError, match="cannot be downloaded automatically: get http"):
        load("animal10n", tmp_path / "elsewhere", download=True)


def test_load_needs_nothing_downloaded_for_what_is_there(tree):
    assert len(load("digits", download=True)[0]) == 1438
    root = tree(*(f"{name}/{i}.png" for name in "ab" for i in "123"))
    assert load(root, download=True)[0].class_names == ("a", "b")


def test_the_verb_says_where_it_is_and_where_it_failed(served, tmp_path, capsys):
    root = tmp_path / "root"
    assert main(["download", "mnist", "--root", str(root)]) == 0
    assert capsys.readouterr().out == f"mnist is in {root / 'mnist'}\n"
    (served / "t10k-labels-idx1-ubyte.gz").write_bytes(b"<html>not here</html>")
    assert main(["download", "mnist", "--root", str(tmp_path / "other")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    for words in ("404", "<html>not here", "manually", str(tmp_path / "other" / "mnist")):
        assert words in shown.err


def test_train_downloads_on_request_and_the_request_is_not_the_run(served, tmp_path, capsys):
    arguments = ["train", "--data", "mnist", "--model", "mlp", "--epochs", "1", "--batch-size", "16"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "noisylabels download mnist" in capsys.readouterr().err
    assert main([*arguments, "--download", "--out", str(tmp_path / "run")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "other")]) == 0
    results = [read_json(tmp_path / name / "result.json") for name in ("run", "other")]
    assert results[0]["run_id"] == results[1]["run_id"]
    assert read_json(tmp_path / "run" / "environment.json")["identity"]["augment"] == "none"


def test_every_row_that_can_be_downloaded_says_how():
    names = [name for name, row in DATA.items() if row.published and row.published.files]
    assert names == ["cifar10", "cifar100", "cifar100-coarse", "mnist", "fashion-mnist"]
    for name in names:
        assert f"`noisylabels download {name}` from http" in DATA[name].source
        for file in DATA[name].published.files:
            algorithm, _, value = file.digest.partition(":")
            assert (algorithm, len(value)) == ("md5", 32)
            assert all(url.startswith("http") for url in file.urls)
