import numpy as np
import pytest
import torch
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data import decode
from noisylabels.data.decode import Decoding, read_images, survey

SIZE = (12, 12)


def decoded(images, shape=(3, 12, 12), bad_images="fail", **options):
    decoding = Decoding(images, [f"{i}.png" for i in range(len(images))], shape, bad_images, **options)
    return np.concatenate(list(decoding.pieces())), decoding


def chw(array):
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.fixture
def broken(pixels, encode):
    """Name -> bytes of an unreadable image, and the expected reason."""
    jpeg, png = encode(pixels(1, 64, 64), "JPEG"), encode(pixels(1, 64, 64))
    return {
        "nothing": (b"", "0 bytes"),
        "text": (b"hello", "not an image"),
        "truncated jpeg": (jpeg[: len(jpeg) // 2], "truncated"),
        "truncated png": (png[: len(png) // 2], "truncated"),
        "bomb": (b"P6\n60000 60000\n255\n", "decompression bomb"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        "float": (encode(np.full(SIZE, 300, dtype=np.float32), "TIFF"), "floating-point pixels beyond 0..1"),
        "wide": (encode(np.full(SIZE, 70_000, dtype=np.int32), "TIFF"), "integer pixels beyond 0..65535"),
    }


def test_bad_images_are_named_with_their_reasons(broken, pixels, encode):
    good = encode(pixels(1))
    for content, reason in broken.values():
        with pytest.raises(InputError, match=rf"1 of 2 images cannot be read: 1.png \(.*{reason}") as caught:
            decoded([good, content])
        assert "skip" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_bad_images_can_be_skipped(broken, pixels, encode):
    files, expected = [], []
    for i, (content, _) in enumerate(broken.values()):
        files += [encode(pixels(i)), content]
        expected.append(chw(pixels(i)))
    result, decoding = decoded(files, bad_images="skip")
    assert np.array_equal(result, np.stack(expected))
    assert sorted(decoding.bad) == list(range(1, 2 * len(broken), 2))
    assert decoding.note().startswith("left out 8 of 16 images that cannot be read: 1.png (0 bytes), 3.png")
    assert decoding.note().endswith("and 5 more")


def test_when_nothing_can_be_read_skipping_does_not_help():
    with pytest.raises(InputError, match="none of the 2 images can be read"):
        decoded([b"", b"x"], bad_images="skip")


def test_files_that_cannot_be_opened_are_bad_images(tmp_path, pixels, encode):
    path = tmp_path / "good.png"
    path.write_bytes(encode(pixels(1)))
    (tmp_path / "empty.png").touch()
    files = [path, tmp_path / "gone.png", tmp_path / "empty.png"]
    result, decoding = decoded(files, bad_images="skip")
    assert len(result) == 1
    assert decoding.bad == {1: "No such file or directory", 2: "0 bytes"}


def test_the_order_is_kept_over_many_windows(monkeypatch, pixels, encode):
    monkeypatch.setattr(decode, "_BLOCK", 2)
    monkeypatch.setattr(decode, "usable_cores", lambda: 3)
    seen = []
    files = [encode(pixels(i)) for i in range(50)]
    result, _ = decoded(files, progress=lambda *told: seen.append(told))
    assert np.array_equal(result, np.stack([chw(pixels(i)) for i in range(50)]))
    assert seen == [("decoding", 24, 50), ("decoding", 48, 50), ("decoding", 50, 50)]


def test_pillow_s_warnings_stay_inside(monkeypatch, pixels, encode):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 144 pixels warn, beyond 200 they are refused
    assert len(decoded([encode(pixels(1))])[0]) == 1
    assert survey([encode(pixels(1))])[0] == (3, 12, 12)


def test_a_common_size_is_kept(pixels, encode):
    assert survey([encode(pixels(i, 9, 14)) for i in range(3)])[:2] == ((3, 9, 14), [])
    assert survey([encode(pixels(i, 9, 14, gray=True)) for i in range(3)])[:2] == ((1, 9, 14), [])


def test_one_color_image_makes_the_set_color(pixels, encode):
    images = [encode(pixels(i, gray=i != 40)) for i in range(50)]
    assert survey(images)[0] == (3, 12, 12)


def test_several_sizes_are_brought_to_one(pixels, encode):
    images = [encode(pixels(1, 10, 20)), encode(pixels(2, 30, 40)), encode(pixels(3, 5, 5))]
    shape, (note,), *_ = survey(images)
    assert shape == (3, 64, 64)
    assert note.startswith("images of 3 sizes from 5x5 to 40x30 resized: shorter side to 64 pixels")
    assert "image_size" in note
    assert survey(images, image_size=16)[0] == (3, 16, 16)


def test_an_asked_size_is_given(pixels, encode):
    same = [encode(pixels(i)) for i in range(2)]
    assert survey(same, image_size=12)[:2] == ((3, 12, 12), [])
    assert survey(same, image_size=8)[0] == (3, 8, 8)


def test_unreadable_headers_do_not_decide_the_size(pixels, encode):
    assert survey([b"", encode(pixels(1)), b"x"])[:2] == ((3, 12, 12), [])


def test_camera_photographs_are_not_kept_whole_unasked(monkeypatch, pixels, encode):
    monkeypatch.setattr(decode, "MAX_UNASKED_BYTES", 3 * 144 * 2)
    assert survey([encode(pixels(i)) for i in range(3)])[0] == (3, 12, 12)  # small ones always are
    monkeypatch.setattr(decode, "DEFAULT_SIZE", 8)
    images = [encode(pixels(i)) for i in range(3)]
    assert survey(images[:2])[0] == (3, 12, 12)
    with pytest.raises(InputError, match=r"3 images of 12x12 pixels would take .* choose an image_size"):
        survey(images)
    assert survey(images, image_size=12)[0] == (3, 12, 12)


def test_read_images_gives_what_a_model_takes(tree):
    root = tree("b.png", "a/1.png", "a/2.jpg")
    names = [str(root / name) for name in ("b.png", "a/1.png", "a/2.jpg")]
    images, ids = read_images(root, channels=3, image_size=(12, 12))
    assert ids == names
    expected = np.stack([chw(np.asarray(Image.open(name))) for name in names])
    assert np.array_equal(images.numpy(), expected)
    assert read_images(root, channels=1, image_size=(8, 6))[0].shape == (3, 1, 8, 6)
    for one in (names[0], root / "b.png", [names[0]]):
        assert torch.equal(read_images(one, channels=3, image_size=(12, 12))[0], images[:1])
    mixed, ids = read_images([root / "a", names[0]], channels=3, image_size=(12, 12))
    assert ids == [*names[1:], names[0]]
    assert torch.equal(mixed, images[[1, 2, 0]])


def test_read_images_explains_what_is_wrong(tree, tmp_path):
    root = tree("a.png", "b.png")
    (root / "b.png").write_bytes(b"x")
    shape = {"channels": 3, "image_size": (12, 12)}
    with pytest.raises(InputError, match=r"1 of 2 images cannot be read: .*b.png \(not an image\)"):
        read_images(root, **shape)
    assert read_images(root, bad_images="skip", **shape)[1] == [str(root / "a.png")]
    with pytest.raises(InputError, match=r"there is no file or folder .*gone.png$"):
        read_images([root / "a.png", root / "gone.png"], **shape)
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", []):
        with pytest.raises(InputError, match="no images found in"):
            read_images(nothing, **shape)
    with pytest.raises(InputError, match="unknown treatment of bad images 'skp'; did you mean 'skip'"):
        read_images(root, bad_images="skp", **shape)
