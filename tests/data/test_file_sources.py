import os

import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.file_sources import folders_in, images_below


def test_images_come_sorted_and_hidden_things_do_not(tree):
    root = tree("b.png", "a.JPG", "z/1.png", "y/x/2.png", ".hidden/3.png", "__MACOSX/4.png")
    (root / "notes.txt").write_text("no image")
    (root / "._b.png").write_bytes(b"no image")
    found = [path.relative_to(root).as_posix() for path in images_below(root)]
    assert found == ["a.JPG", "b.png", "y/x/2.png", "z/1.png"]
    assert folders_in(root) == ["y", "z"]


def test_a_link_back_up_is_followed_once(tree):
    root = tree("a/1.png")
    os.symlink(root, root / "a" / "up")
    assert len(list(images_below(root))) == 1


def test_what_cannot_be_listed_is_an_error(tmp_path):
    for walk in (folders_in, lambda path: list(images_below(path))):
        with pytest.raises(InputError, match=r"cannot list the folder .*gone \(No such file or directory\)"):
            walk(tmp_path / "gone")
