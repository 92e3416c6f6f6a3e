import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from noisylabels.data.image_decoding import Header, read_header, read_pixels, resize_arrays

SIZE = (12, 12)


def chw(array):
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_gray_stays_gray_in_every_lossless_format(kind, pixels, encode):
    gray = pixels(1, gray=True)
    image = encode(gray, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(read_pixels(image, 1, SIZE), gray[None])
    assert read_header(image).gray is (kind != "WEBP")  # WebP has no gray of its own


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_color_survives_every_lossless_format(kind, pixels, encode):
    color = pixels(2)
    assert np.array_equal(read_pixels(encode(color, kind), 3, SIZE), chw(color))
    assert read_header(encode(color, kind)) == Header(12, 12, False)


def test_jpeg_equals_pillow(pixels, encode):
    image = encode(pixels(3), "JPEG", quality=80)
    assert np.array_equal(read_pixels(image, 3, SIZE), chw(np.asarray(Image.open(io.BytesIO(image)))))


def test_gray_images_among_color_have_three_equal_channels(pixels, encode):
    gray = pixels(4, gray=True)
    assert np.array_equal(read_pixels(encode(gray), 3, SIZE), np.stack([gray] * 3))


def test_color_in_a_gray_set_becomes_luma(pixels, encode):
    color = pixels(5)
    expected = color @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(read_pixels(encode(color), 1, SIZE)[0] - expected).max() <= 1


def test_one_bit_is_black_and_white(encode):
    bits = np.tile([[False, True], [True, False]], (6, 6))
    image = encode(Image.fromarray(bits))
    assert read_header(image).gray
    assert np.array_equal(read_pixels(image, 1, SIZE)[0], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled(kind, encode):
    values = np.linspace(0, 65535, 144).round().astype(np.uint16).reshape(SIZE)
    image = encode(values, kind)
    assert read_header(image).gray
    expected = np.floor(values / 65535 * 255 + 0.5)
    assert np.array_equal(read_pixels(image, 1, SIZE)[0], expected)
    assert {0, 255} <= set(read_pixels(image, 1, SIZE)[0].flatten().tolist())


def test_thirty_two_bit_gray_within_sixteen_bits_is_scaled(encode):
    values = np.array([[0, 257], [65535, 32768]], dtype=np.int32)
    assert read_pixels(encode(values, "TIFF"), 1, (2, 2))[0].tolist() == [[0, 1], [255, 128]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_composited_on_white(mode, pixels, encode):
    color = pixels(6, gray=mode == "LA")
    alpha = pixels(7, gray=True)
    alpha[0, :4] = [0, 255, 0, 255]
    image = encode(Image.fromarray(np.dstack([color, alpha])))
    weight = chw(alpha) / 255
    expected = chw(color) * weight + 255 * (1 - weight)
    channels = 1 if mode == "LA" else 3
    assert read_header(image).gray is (mode == "LA")
    result = read_pixels(image, channels, SIZE)
    assert np.abs(result - expected).max() <= 1
    assert (result[:, 0, 0] == 255).all()
    assert np.array_equal(result[:, 0, 1], chw(color)[:, 0, 1])


def palette_image():
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.putdata([0, 1, 2, 3])
    return image


def test_a_palette_is_looked_up(encode):
    expected = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]])
    image = encode(palette_image())
    assert not read_header(image).gray
    assert np.array_equal(read_pixels(image, 3, (2, 2)), chw(expected))


def test_a_transparent_palette_entry_is_white(encode):
    result = read_pixels(encode(palette_image(), transparency=2), 3, (2, 2))
    assert result[:, 1, 0].tolist() == [255, 255, 255]
    assert result[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("color", "key"), [((9, 8, 7), (9, 8, 7)), (9, 9)])
def test_a_transparent_color_is_white(color, key, encode):
    mode = "L" if isinstance(color, int) else "RGB"
    image = encode(Image.new(mode, (2, 2), color), transparency=key)
    assert (read_pixels(image, 1 if mode == "L" else 3, (2, 2)) == 255).all()


def test_cmyk_becomes_rgb(encode):
    image = encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = read_pixels(image, 3, (16, 16))[:, 8, 8].tolist()
    assert red < 10
    assert green > 245
    assert blue > 245
    assert not read_header(image).gray


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(kind, orientation, encode):
    corners = np.zeros((16, 24, 3), dtype=np.uint8)
    corners[:8, :8] = 255
    corners[8:, 16:] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    image = encode(corners, kind, exif=exif, **options)
    plain = Image.fromarray(corners)
    plain.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(plain)
    header = read_header(image)
    assert (header.width, header.height) == upright.size
    result = read_pixels(image, 3, (header.height, header.width))
    assert np.abs(result.astype(int) - chw(np.asarray(upright))).max() < 40  # JPEG rings at edges


def test_damaged_metadata_do_not_cost_the_image(pixels, encode):
    image = encode(pixels(8), "JPEG", exif=b"Exif\0\0this is no EXIF")
    assert read_header(image) == Header(12, 12, False)
    assert read_pixels(image, 3, SIZE).shape == (3, 12, 12)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind, encode):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    image = encode(first, kind, save_all=True, append_images=[second], **options)
    assert (read_pixels(image, 3, (4, 4)) == chw(np.asarray(first))).all()


def test_resizing_takes_the_center_square(encode):
    stripes = np.zeros((20, 60, 3), dtype=np.uint8)
    stripes[:, 20:40] = 200  # the center square
    assert (read_pixels(encode(stripes), 3, (20, 20)) == 200).all()
    assert (read_pixels(encode(stripes), 3, (10, 10))[:, :, 2:-2] == 200).all()
    assert (read_pixels(encode(stripes.transpose(1, 0, 2)), 3, (20, 20)) == 200).all()


def test_small_images_are_enlarged(encode):
    assert (read_pixels(encode(np.full((3, 1, 3), 77, dtype=np.uint8)), 3, (8, 8)) == 77).all()


def test_resizing_equals_pillow(pixels, encode):
    color = pixels(9, 40, 50)
    expected = Image.fromarray(color).resize((16, 16), Image.Resampling.BICUBIC, box=(5, 0, 45, 40))
    result = read_pixels(encode(color), 3, (16, 16))
    assert np.array_equal(result, chw(np.asarray(expected)))


def test_a_large_jpeg_shrunk_while_decoding_looks_the_same(encode):
    y, x = np.mgrid[0:512, 0:512]
    smooth = np.stack([x // 2, y // 2, (x + y) // 4], axis=2).astype(np.uint8)
    result = read_pixels(encode(smooth, "JPEG", quality=95), 3, (32, 32)).astype(int)
    expected = chw(np.asarray(Image.fromarray(smooth).resize((32, 32), Image.Resampling.BICUBIC)))
    assert np.abs(result - expected).max() <= 4


def test_arrays_are_resized_like_files(pixels, encode):
    for gray in (False, True):
        images = np.stack([chw(pixels(i, gray=gray)) for i in range(3)])
        files = [encode(pixels(i, gray=gray)) for i in range(3)]
        expected = np.stack([read_pixels(file, images.shape[1], (7, 7)) for file in files])
        assert np.array_equal(resize_arrays(images, 7), expected)
        assert resize_arrays(images, 12) is images
