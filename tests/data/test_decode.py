from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from d2c.data.decode import DAMAGED, EMPTY, NOT_AN_IMAGE, TOO_LARGE, Unusable, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def why(data, **options):
    with pytest.raises(Unusable) as caught:
        decode(data, **options)
    return caught.value.reason


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_file_is_damaged(encode, format):
    data = encode(size=(64, 48), format=format)
    assert decode(data).size == (64, 48)
    assert why(data[: len(data) // 2]) == DAMAGED
    assert why(data[:14]) == DAMAGED


@pytest.mark.parametrize(
    "data", [b"hello", b"<xml/>", b"\0" * 500, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"]
)
def test_other_files_are_not_images(data):
    assert why(data) == NOT_AN_IMAGE


def test_nothing_is_empty():
    assert why(b"") == EMPTY


def test_sizes_are_judged_by_the_header_before_decoding(png_of):
    assert why(png_of(60_000, 60_000)) == TOO_LARGE  # beyond Pillow's own limit
    assert why(png_of(1000, 1000)) == DAMAGED  # no pixels behind the header: decoding was tried
    assert why(png_of(1000, 1000), max_pixels=999_999) == TOO_LARGE
    assert decode(png_of(11, 10, bytes(10 * 34)), max_pixels=110).size == (11, 10)
    assert why(png_of(11, 10, bytes(10 * 34)), max_pixels=109) == TOO_LARGE


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied(encode, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encode(3, (24, 16), format=format, exif=exif))
    plain = decode(encode(3, (24, 16), format=format))
    np.testing.assert_array_equal(np.asarray(image), TURNED[orientation](np.asarray(plain)))


def test_unreadable_exif_does_not_cost_the_picture(encode):
    assert decode(encode(format="JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).size == (20, 16)


@pytest.mark.parametrize(
    ("mode", "format", "expected"),
    [
        *[("1", "PNG", "L"), ("L", "PNG", "L"), ("LA", "PNG", "L"), ("RGB", "PNG", "RGB"), ("RGBA", "PNG", "RGB")],
        *[("P", "GIF", "RGB"), ("CMYK", "JPEG", "RGB"), ("CMYK", "TIFF", "RGB"), ("YCbCr", "JPEG", "RGB")],
    ],
)
def test_every_mode_becomes_grey_or_rgb(encode, mode, format, expected):
    data = encode(mode=mode, format=format) if mode not in ("1", "P") else None
    if data is None:
        file = io.BytesIO()
        Image.open(io.BytesIO(encode())).convert(mode).save(file, format)
        data = file.getvalue()
    assert decode(data).mode == expected


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_lies_over_white(encode, mode):
    data = encode(5, mode=mode)
    values = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    colour, alpha = values[..., :-1], values[..., -1:] / 255
    expected = (colour * alpha + 255 * (1 - alpha)).squeeze()
    assert np.abs(np.asarray(decode(data)) - expected).max() <= 1


def test_palette_transparency_lies_over_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0)
    pixels = np.asarray(decode(file.getvalue()))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [200, 10, 10]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(format):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format)
    image = decode(file.getvalue())
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"), [([0, 0.5, 1, np.nan], [0, 128, 255, 0]), ([0, 7.4, 300, -5], [0, 7, 255, 0])]
)
def test_floats_are_read_as_unit_or_byte_range(values, expected):
    file = io.BytesIO()
    Image.fromarray(np.array([values], np.float32)).save(file, "TIFF")
    assert np.asarray(decode(file.getvalue())).tolist() == [expected]
