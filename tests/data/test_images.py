"""Every kind of file a poster comes in: decoded rightly, or refused with the reason."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poster_ml.data.images import KINDS, MAX_FILE_BYTES, decode_poster, fit_image, is_flat
from poster_ml.errors import RequestError
from tests.pictures import declared_png, encode
from tests.refusals import refusal

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 120, height: int = 180) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The four quarter centres: top left, top right, bottom left, bottom right."""
    low, high = len(pixels) // 4, 3 * len(pixels) // 4
    return [tuple(int(v) for v in pixels[y, x]) for y in (low, high) for x in (low, high)]


def near(found: list[tuple[int, ...]], expected: list[tuple[int, ...]], tolerance: int = 3) -> bool:
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= tolerance)


def refused(data: bytes | Path, **options: object) -> str:
    return refusal(RequestError, decode_poster, data, 32, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_and_the_size_is_the_upright_one(file_format, orientation):
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = quarters().transpose(back[orientation]) if orientation in back else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    poster = decode_poster(encode(stored, file_format, exif=exif), 64)
    assert near(corners(poster.pixels), [RED, GREEN, BLUE, WHITE], 8)
    assert (poster.width, poster.height) == (120, 180)


def test_cmyk_is_converted_and_damaged_exif_leaves_the_picture_alone():
    cmyk = encode(quarters().convert("CMYK"), "JPEG")
    damaged = encode(quarters(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    for data in (cmyk, damaged):
        assert near(corners(decode_poster(data, 64).pixels), [RED, GREEN, BLUE, WHITE], 6)


def test_a_large_jpeg_is_reduced_without_harm_and_keeps_its_own_size():
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 40, 3), np.uint8))
    large = coarse.resize((1200, 1800), Image.Resampling.BICUBIC)
    decoded = decode_poster(encode(large, "JPEG", quality=95), 64)
    full = np.asarray(large.resize((64, 64), Image.Resampling.BICUBIC))
    assert (decoded.width, decoded.height) == (1200, 1800)
    assert np.abs(decoded.pixels.astype(int) - full).mean() < 2.5


def half_transparent() -> bytes:
    image = quarters().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 60, 90))  # top left: see-through black
    image.paste((0, 0, 0, 128), (60, 0, 120, 90))  # top right: half black
    return encode(image)


def of_a_palette(file_format: str, opacity_of_red: int = 0) -> bytes:
    palette = quarters().quantize(4)
    red = palette.getpixel((10, 10))
    partly = bytes(opacity_of_red if value == red else 255 for value in range(4))
    return encode(palette, file_format, transparency=partly if opacity_of_red else red)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (half_transparent(), [WHITE, (127, 127, 127), BLUE, WHITE]),
        (of_a_palette("PNG"), [WHITE, GREEN, BLUE, WHITE]),
        (of_a_palette("GIF"), [WHITE, GREEN, BLUE, WHITE]),
        (of_a_palette("PNG", 128), [(255, 127, 127), GREEN, BLUE, WHITE]),
        (encode(quarters(), transparency=RED), [WHITE, GREEN, BLUE, WHITE]),
        (encode(quarters().convert("L"), transparency=76), [WHITE, (150,) * 3, (29,) * 3, WHITE]),
    ],
    ids=["RGBA", "palette PNG", "palette GIF", "half of a palette", "colour key", "grey key"],
)
def test_transparency_is_composited_on_white(data, expected):
    assert near(corners(decode_poster(data, 64).pixels), expected, 2)


def grey_steps(dtype: type, white: float) -> np.ndarray:
    steps = np.zeros((180, 120), np.float64)
    steps[:90, 60:], steps[90:, :60], steps[90:, 60:] = 0.25, 0.5, 1.0
    return (steps * white).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "white", "file_format", "mode"),
    [
        (np.uint16, 65535, "PNG", None), (np.uint16, 65535, "TIFF", None), (np.int32, 65535, "TIFF", None),
        (np.int32, 255, "TIFF", None), (np.float32, 1, "TIFF", None), (np.float32, 255, "TIFF", None), (np.uint8, 255, "PNG", "L"),
        (np.uint8, 255, "PNG", "LA"), (np.uint8, 255, "PNG", "1"),
    ],
)  # fmt: skip
def test_grey_of_every_depth_keeps_its_levels(dtype, white, file_format, mode):
    image = Image.fromarray(grey_steps(dtype, white))
    if mode:
        image = image.convert(mode, dither=Image.Dither.NONE)
    found = [value[0] for value in corners(decode_poster(encode(image, file_format), 64).pixels)]
    expected = [0, 0, 0, 255] if mode == "1" else [0, 64, 127, 255]
    assert np.abs(np.array(found) - expected).max() <= 2


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(file_format):
    data = encode(quarters(), file_format, save_all=True, append_images=[Image.new("RGB", (120, 180))])
    assert near(corners(decode_poster(data, 64).pixels), [RED, GREEN, BLUE, WHITE], 8)


BOMB = zlib.compress(bytes(1000))  # fewer bytes than it declares pixels
UNREADABLE = "not an image: no JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF that can be read"
FLAT = "one colour: a placeholder, not a poster"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty file: it has 0 bytes"),
        (b"<!DOCTYPE html><html>404</html>", "not an image: an HTML or XML page"),
        (b"hello, poster", UNREADABLE),
        (encode(quarters(), "PPM"), UNREADABLE),
        (
            declared_png(10_000, 10_000, BOMB),
            "too many pixels: 10000 x 10000 declared, over the limit of 50 megapixels",
        ),
        (declared_png(60_000, 60_000, BOMB), "too many pixels: over the limit of 50 megapixels"),
        (encode(quarters(20, 30)), "too small: 20 x 30 pixels, each side must have at least 32"),
        (encode(quarters(600, 100)), "odd aspect: 600 x 100 is 6.0:1, at most 4:1 allowed"),
        (encode(Image.new("RGB", (100, 150), (37, 90, 120)), "JPEG"), FLAT),
        (encode(Image.new("RGBA", (100, 150), (200, 0, 0, 0))), FLAT),
    ],
)
def test_what_is_no_poster_is_refused_with_the_reason(data, why):
    assert refused(data) == why


def test_the_limits_themselves_are_allowed():
    assert decode_poster(encode(quarters(32, 128)), 32, max_pixels=32 * 128).height == 128
    limited = refused(encode(quarters(32, 128)), max_pixels=32 * 128 - 1)
    assert limited == "too many pixels: 32 x 128 declared, over the limit of 0.004095 megapixels"


def test_files_that_cannot_be_read_are_refused(tmp_path):
    assert refused(tmp_path / "none.jpg") == "missing file: none.jpg"
    assert refused(tmp_path).startswith("unreadable file: ")
    with (tmp_path / "huge.jpg").open("wb") as handle:
        handle.truncate(MAX_FILE_BYTES + 1)
    assert refused(tmp_path / "huge.jpg") == "file too large: 64 MiB, at most 64 allowed"


@pytest.mark.parametrize("file_format", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_file_cut_short_is_refused_and_never_half_grey(file_format, share):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (180, 120, 3), np.uint8))
    data = encode(noise, file_format)
    assert refused(data[: int(len(data) * share)]).split(":")[0] in ("broken image", "not an image")


def test_no_damage_escapes_as_another_error():
    random = np.random.default_rng(2)
    refused = []
    whole = {name: encode(quarters(60, 90), name) for name in KINDS}
    for data in whole.values():
        for _ in range(60):
            damaged = bytearray(data)
            for at in random.integers(0, min(len(damaged), 400), 4):
                damaged[at] = random.integers(256)
            try:
                assert decode_poster(bytes(damaged), 16).pixels.shape == (16, 16, 3)
            except RequestError as error:
                refused.append(str(error))
    assert len(refused) > 50
    assert all(": " in text for text in refused)


def test_noise_and_a_speck_are_still_one_colour_and_a_small_title_is_not():
    pixels = np.random.default_rng(0).integers(86, 95, (64, 64, 3), np.uint8)
    pixels[:4, :4] = 255
    assert is_flat(pixels)
    pixels[:4, :8] = 255
    assert not is_flat(pixels)
    image = Image.new("RGB", (200, 300), WHITE)
    image.paste((0, 0, 0), (80, 140, 120, 150))  # 0.7 % of the area
    decode_poster(encode(image), 32)


def test_squash_pad_and_crop():
    # Red frame above and below, green centre: where the frame is afterwards tells what was done.
    image = Image.new("RGB", (100, 200), RED)
    image.paste(GREEN, (0, 50, 100, 150))
    squash, crop = fit_image(image, 64, "squash"), fit_image(image, 64, "crop")
    assert near([tuple(squash[4, 32]), tuple(squash[32, 32])], [RED, GREEN])
    assert near([tuple(crop[2, 32]), tuple(crop[61, 2])], [GREEN, GREEN])
    wide = Image.new("RGB", (200, 100), BLUE)
    wide.paste(RED, (10, 10, 190, 90))
    pad = fit_image(wide, 64, "pad")
    assert near([tuple(pad[0, 0]), tuple(pad[63, 32]), tuple(pad[32, 32])], [BLUE, BLUE, RED])
    assert (pad[:16] == pad[0, 0]).all(), "bars of one colour, that of the border"


def test_downscaling_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_image(Image.fromarray(stripes), 32).astype(int) - 127).max() <= 8
