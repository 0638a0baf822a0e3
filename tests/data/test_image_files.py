"""Images of every kind that people have come out upright, square, 8-bit and in colour."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn import Pixels, rounded, saved, smooth
from PIL import Image

from privpipe.data.image_files import read_image
from privpipe.errors import PrivpipeError
from privpipe.reading import Reading

N = 16
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (N, N, 4), np.uint8)  # four channels of anything
RGB = np.ascontiguousarray(NOISE[..., :3])
GREY, ALPHA = NOISE[..., 0], NOISE[..., 3]
DEEP = RNG.integers(0, 65536, (N, N), np.uint16)
DEEP[0, :4] = 0, 65535, 257, 128


def grey(values: Pixels) -> Pixels:
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def on_white(colours: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[..., None] / 255
    return rounded(colours * share + 255 * (1 - share))


def png(path: Path, depth: int, colour: int, rows: Pixels, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG made by hand, for what Pillow does not write: rows (H, bytes) uint8, and chunks before the data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", N, N, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def tiff(path: Path, data: bytes, depth: int, photometric: int) -> Path:
    """A little-endian grey TIFF made by hand."""
    tags = [
        *[(256, 3, 1, N), (257, 3, 1, N), (258, 3, 1, depth), (259, 3, 1, 1), (262, 3, 1, photometric)],
        *[(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, N), (279, 4, 1, len(data))],
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


def two_values(low: int, high: int) -> Pixels:
    return np.where(GREY < 128, low, high).astype(np.uint8)


def palette_image() -> tuple[Image.Image, Pixels]:
    """A palette image, and its palette (256, 3)."""
    colours = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    image = Image.fromarray(GREY).convert("P")
    image.putdata(GREY.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    return image, colours


def test_a_square_colour_image_comes_out_bit_for_bit(tmp_path: Path) -> None:
    for name, options in [
        *[("x.png", {}), ("x.bmp", {}), ("x.tif", {}), ("x.tiff", {"compression": "tiff_lzw"})],
        *[("x.TIF", {"compression": "tiff_adobe_deflate"}), ("x.webp", {"lossless": True})],
    ]:
        found = read_image(saved(tmp_path / name, Image.fromarray(RGB), **options), N)
        assert np.array_equal(found, RGB), (name, options)
        assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable


def test_grey_is_three_equal_colours(tmp_path: Path) -> None:
    for name in ("x.png", "x.bmp", "x.tif"):
        assert np.array_equal(read_image(saved(tmp_path / name, Image.fromarray(GREY)), N), grey(GREY)), name


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    image = Image.fromarray(two_values(0, 255)).convert("1")
    for name, options in [("x.png", {}), ("x.bmp", {}), ("x.tif", {}), ("x.tiff", {"compression": "group4"})]:
        assert np.array_equal(read_image(saved(tmp_path / name, image, **options), N), grey(two_values(0, 255)))


def test_palettes(tmp_path: Path) -> None:
    image, colours = palette_image()
    for name in ("x.png", "x.bmp", "x.tif"):
        assert np.array_equal(read_image(saved(tmp_path / name, image), N), colours[GREY]), name


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("unit", [1, 257])
def test_a_palette_of_a_tiff_has_8_or_16_bits(tmp_path: Path, compression: str | None, unit: int) -> None:
    """TIFF 6.0 asks for 16; some writers leave 8, which libtiff tells by their all being below 256."""
    colours = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint16)
    path, colormap = tmp_path / "x.tif", (colours * unit).T.astype(np.uint16)
    tifffile.imwrite(path, GREY, photometric="palette", colormap=colormap, compression=compression)
    assert np.array_equal(read_image(path, N), colours[GREY])


def test_palettes_with_transparency(tmp_path: Path) -> None:
    image, colours = palette_image()
    one = read_image(saved(tmp_path / "one.png", image, transparency=int(GREY[3, 4])), N)
    assert np.array_equal(one, np.where(grey(GREY[3, 4] == GREY), 255, colours[GREY]))
    alphas = np.arange(256, dtype=np.uint8)[::-1].copy()
    all_of_them = read_image(saved(tmp_path / "all.png", image, transparency=alphas.tobytes()), N)
    assert np.array_equal(all_of_them, on_white(colours[GREY], alphas[GREY]))


@pytest.mark.parametrize(("name", "options"), [("x.png", {}), ("x.tif", {}), ("x.webp", {"lossless": True})])
def test_alpha_is_seen_on_white(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(NOISE)
    found = read_image(saved(tmp_path / name, image, **options, **({"exact": True} if "webp" in name else {})), N)
    assert np.array_equal(found, on_white(RGB, ALPHA))


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_grey_with_alpha_is_seen_on_white(tmp_path: Path, name: str) -> None:
    found = read_image(saved(tmp_path / name, Image.fromarray(NOISE[..., [0, 3]], "LA")), N)
    assert np.array_equal(found, on_white(grey(GREY), ALPHA))


def test_a_colour_that_stands_for_transparency(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "rgb.png", Image.fromarray(RGB), transparency=tuple(RGB[2, 5].tolist())), N)
    assert np.array_equal(found, np.where((RGB[2, 5] == RGB).all(axis=2, keepdims=True), 255, RGB))
    found = read_image(saved(tmp_path / "grey.png", Image.fromarray(GREY), transparency=int(GREY[2, 5])), N)
    assert np.array_equal(found, grey(np.where(GREY[2, 5] == GREY, 255, GREY)))


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    expected = grey(rounded(DEEP / 65535 * 255))
    assert expected[0, :4, 0].tolist() == [0, 255, 1, 0]
    little, big = Image.fromarray(DEEP), Image.frombytes("I;16B", (N, N), DEEP.astype(">u2").tobytes())
    for name, image in [("x.png", little), ("little.tif", little), ("big.tif", big)]:
        assert np.array_equal(read_image(saved(tmp_path / name, image), N), expected), name


DEEP_READINGS = [  # under which black is 0 and white 65535
    Reading(),
    Reading(range="type"),
    Reading(range="set", limits=((0.0, 65535.0),)),
    Reading(range="image", saturated=0),
]


@pytest.mark.parametrize("reading", DEEP_READINGS, ids=lambda reading: reading.range)
@pytest.mark.parametrize("count", [1, 3])
def test_16_bits_with_a_transparent_colour(tmp_path: Path, count: int, reading: Reading) -> None:
    """That of all 16 bits alone, whatever black and white are."""
    values = np.random.default_rng(2).integers(0, 65536, (N, N, count), np.uint16)
    values[0, 0], values[0, 1] = 0, 65535
    values[5, 7] = values[5, 6] ^ 1  # nearly the same
    key = (b"tRNS", values[5, 6].astype(">u2").tobytes())
    path = png(tmp_path / "x.png", 16, 2 if count == 3 else 0, values.astype(">u2"), key)
    expected = rounded(values / 257)
    expected[(values == values[5, 6]).all(axis=2)] = 255
    assert np.array_equal(read_image(path, N, reading), np.broadcast_to(expected, (N, N, 3)))


@pytest.mark.parametrize("reading", DEEP_READINGS[:2], ids=lambda reading: reading.range)
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_level_of_few_bits(tmp_path: Path, depth: int, reading: Reading) -> None:
    values = GREY >> (8 - depth)
    rows = np.packbits(np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(N, -1), axis=1)
    for level in {0, 1, 2**depth - 1}:
        path = png(tmp_path / "x.png", depth, 0, rows, (b"tRNS", struct.pack(">H", level)))
        expected = np.where(values == level, 255, values * (255 // (2**depth - 1)))
        assert np.array_equal(read_image(path, N, reading), grey(expected)), level


def test_grey_tiffs_where_white_is_zero_or_with_12_bits(tmp_path: Path) -> None:
    inverted = read_image(tiff(tmp_path / "inverted.tif", DEEP.astype("<u2").tobytes(), 16, 0), N)
    assert np.array_equal(inverted, grey(rounded((65535 - DEEP.astype(int)) / 65535 * 255)))
    inverted = read_image(tiff(tmp_path / "inverted8.tif", GREY.tobytes(), 8, 0), N)
    assert np.array_equal(inverted, grey(255 - GREY))
    values = (DEEP >> 4).ravel().astype(int)
    packed = bytes(
        byte
        for a, b in zip(values[::2], values[1::2], strict=True)
        for byte in (a >> 4, (a & 15) << 4 | b >> 8, b & 255)
    )
    found = read_image(tiff(tmp_path / "twelve.tif", packed, 12, 1), N)
    assert np.array_equal(found, grey(rounded(values.reshape(N, N) / 4095 * 255)))


def test_16_bit_colours(tmp_path: Path) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (N, N, 3), np.uint16)
    found = read_image(png(tmp_path / "x.png", 16, 2, deep.astype(">u2")), N)
    assert np.abs(found - deep / 257).max() < 1.0


def cmyk(pixels: Pixels) -> Pixels:
    return rounded((255 - pixels[..., :3].astype(int)) * (255 - pixels[..., 3:].astype(int)) / 255)


def test_cmyk(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "x.tif", Image.fromarray(NOISE, "CMYK")), N)
    assert np.abs(found.astype(int) - cmyk(NOISE)).max() <= 1
    inks = np.concatenate([smooth(N, N), smooth(N, N)[..., :1] // 2], axis=2)
    path = saved(tmp_path / "x.jpg", Image.fromarray(inks, "CMYK"), quality=100, subsampling=0)
    assert b"Adobe" in path.read_bytes()  # whose inks are stored inverted
    assert np.abs(read_image(path, N).astype(int) - cmyk(inks)).max() <= 6


def test_ycbcr(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "x.tif", Image.fromarray(RGB).convert("YCbCr")), N)
    y, cb, cr = (np.asarray(Image.fromarray(RGB).convert("YCbCr"))[..., c].astype(float) for c in range(3))
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    expected = np.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], axis=2).clip(0, 255)
    assert np.abs(found - expected).max() <= 1.5


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_jpeg(tmp_path: Path, options: dict[str, Any]) -> None:
    path = saved(tmp_path / "x.jpg", Image.fromarray(smooth(64, 64)), quality=98, **options)
    assert np.abs(read_image(path, 64).astype(int) - smooth(64, 64)).max() <= 10
    path = saved(tmp_path / "grey.jpg", Image.fromarray(smooth(64, 64)[..., 0]), quality=98)
    assert np.abs(read_image(path, 64).astype(int) - grey(smooth(64, 64)[..., 0])).max() <= 5


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_an_icc_profile_is_ignored(tmp_path: Path, name: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    plain = read_image(saved(tmp_path / f"plain{name}", Image.fromarray(RGB)), N)
    assert np.array_equal(read_image(saved(tmp_path / name, Image.fromarray(RGB), icc_profile=profile), N), plain)


# EXIF orientation: how the upright image was turned to give the stored one (CIPA DC-008, section 4.6.4).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: np.rot90(upright, 2),
    4: lambda upright: upright[::-1],
    5: lambda upright: np.rot90(upright)[::-1],
    6: lambda upright: np.rot90(upright),
    7: lambda upright: np.rot90(upright, -1)[::-1],
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[("x.png", {}), ("x.tif", {}), ("x.tiff", {"compression": "tiff_lzw"}), ("x.webp", {"lossless": True})],
        *[("x.jpg", {"quality": 98})],
    ],
)
def test_exif_orientation(tmp_path: Path, orientation: int, name: str, options: dict[str, Any]) -> None:
    upright = smooth(24, 40)  # the centre square differs from that of the image lying on its side
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    path = saved(tmp_path / name, Image.fromarray(stored), exif=exif, **options)
    found, expected = read_image(path, 24), upright[:, 8:32]
    assert np.abs(found.astype(int) - expected).max() <= (10 if name == "x.jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(read_image(saved(tmp_path / "x.png", Image.fromarray(RGB), exif=exif), N), RGB)


def test_damaged_exif_data_beside_a_sound_image(tmp_path: Path) -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(30)):
        sound = saved(tmp_path / "x.jpg", Image.fromarray(RGB), quality=95)
        damaged = saved(tmp_path / "y.jpg", Image.fromarray(RGB), quality=95, exif=exif)
        assert np.array_equal(read_image(damaged, N), read_image(sound, N))


def test_the_first_frame_counts(tmp_path: Path) -> None:
    others = [Image.fromarray(255 - RGB), Image.fromarray(RGB[::-1].copy())]
    for name, options in [("x.tif", {}), ("x.png", {}), ("x.webp", {"lossless": True})]:
        path = saved(tmp_path / name, Image.fromarray(RGB), save_all=True, append_images=others, **options)
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == 3
        assert np.array_equal(read_image(path, N, Reading(stack="first")), RGB), name
        if name != "x.png":  # whose further frames viewers do not show
            with pytest.raises(PrivpipeError, match=r"not one image: set data\.stack to "):
                read_image(path, N)
    drawn = smooth(64, 64)
    path = saved(
        tmp_path / "x.jpg",
        Image.fromarray(drawn),
        format="MPO",
        save_all=True,
        append_images=[Image.fromarray(255 - drawn)],
    )
    assert np.abs(read_image(path, 64).astype(int) - drawn).max() <= 30


def test_the_format_is_told_from_the_content(tmp_path: Path) -> None:
    assert np.array_equal(read_image(saved(tmp_path / "x.jpg", Image.fromarray(RGB), format="PNG"), N), RGB)


def lanczos(source: int, start: int, side: int, size: int) -> Pixels:
    """Weights (size, source) of the Lanczos filter of radius 3 that makes `size` pixels of `side` from `start`."""
    scale = side / size
    width = max(scale, 1.0)
    centre = start + (np.arange(size) + 0.5) * scale
    distance = (np.arange(source) + 0.5 - centre[:, None]) / width
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def resized(image: Pixels, size: int) -> Pixels:
    height, width = image.shape[:2]
    side = min(height, width)
    rows = lanczos(height, (height - side) // 2, side, size)
    columns = lanczos(width, (width - side) // 2, side, size)
    return np.einsum("ih,hjc->ijc", rows, np.einsum("hwc,jw->hjc", image.astype(float), columns))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(64, 64, 16), (50, 81, 16), (81, 50, 24), (31, 16, 16), (8, 8, 24), (5, 9, 16)]
)
def test_the_centre_square_is_resized_by_lanczos(tmp_path: Path, height: int, width: int, size: int) -> None:
    # Pillow clips and rounds between the two directions; noise of low contrast does not overshoot.
    image = np.random.default_rng(3).integers(80, 176, (height, width, 3), np.uint8)
    found = read_image(saved(tmp_path / "x.png", Image.fromarray(image)), size)
    assert np.abs(found - resized(image, size)).max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(50, 81), (81, 50), (64, 64)])
def test_the_same_pixels_come_out_alike_of_every_lossless_file(
    tmp_path: Path, height: int, width: int, channels: int
) -> None:
    image = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    image = image if channels == 3 else image[..., 0]
    expected = read_image(saved(tmp_path / "x.png", Image.fromarray(image)), 16)
    assert np.array_equal(expected, read_image(saved(tmp_path / "x.bmp", Image.fromarray(image)), 16))
    photometric, path = "rgb" if channels == 3 else "minisblack", tmp_path / "x.tif"
    for compression in (None, "lzw", "zlib", "packbits"):
        for values in (image, image * np.uint16(257)):
            tifffile.imwrite(path, values, photometric=photometric, compression=compression)
            assert np.array_equal(read_image(path, 16), expected)


@pytest.mark.parametrize(("name", "limit"), [("x.png", 3), ("x.jpg", 6), ("x.webp", 6)])
@pytest.mark.parametrize(("height", "width"), [(600, 800), (1001, 517)])
def test_large_images_take_short_cuts_that_cannot_be_seen(
    tmp_path: Path, name: str, limit: int, height: int, width: int
) -> None:
    image = smooth(height, width)
    found = read_image(saved(tmp_path / name, Image.fromarray(image)), 32)
    assert np.abs(found - resized(image, 32)).max() <= limit


def test_a_long_thin_image(tmp_path: Path) -> None:
    line = np.random.default_rng(4).integers(0, 256, (1, 3001, 3), np.uint8)
    found = read_image(saved(tmp_path / "x.png", Image.fromarray(line)), 8)
    assert (found == found[:1]).all()
