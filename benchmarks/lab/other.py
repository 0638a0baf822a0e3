"""Files of Pillow, OpenCV and scikit-image."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.io
import tifffile
from PIL import Image

from benchmarks.lab.layout import SIZE, Array, Layout, first, levels, noise, on_white
from privpipe.reading import Reading


def layouts() -> Iterator[Layout]:
    """All of them."""
    yield from pillow()
    yield from opencv()
    yield from skimage_io()


def pillow() -> Iterator[Layout]:
    """Every mode in every lossless format that takes it; lossy formats for smooth images."""
    modes = {
        "L": noise("u1", SIZE, SIZE),
        "LA": noise("u1", SIZE, SIZE, 2),
        "RGB": noise("u1", SIZE, SIZE, 3),
        "RGBA": noise("u1", SIZE, SIZE, 4),
        "CMYK": noise("u1", SIZE, SIZE, 4),
        "I;16": noise("u2", SIZE, SIZE),
        "1": noise("u1", SIZE, SIZE) > 127,
    }
    formats: dict[str, tuple[set[str], list[dict[str, Any]]]] = {
        ".png": ({"L", "LA", "RGB", "RGBA", "I;16", "1"}, [{}]),
        ".bmp": ({"L", "RGB", "1"}, [{}]),
        ".webp": ({"RGB", "RGBA"}, [{"lossless": True, "exact": True}]),
        ".gif": ({"L"}, [{}]),
        ".jp2": ({"L", "RGB", "I;16"}, [{"irreversible": False}]),
        ".tif": (
            set(modes),
            [{"compression": name} for name in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd")],
        ),
    }
    for suffix, (taken, ways) in formats.items():
        for mode, how in product(sorted(taken), ways):
            yield Layout(
                "Pillow",
                f"{suffix} of all modes",
                f"{mode}{suffix}, {how.get('compression')}",
                suffix,
                lambda path, mode=mode, how=how: (
                    Image.fromarray(modes[mode]).save(path, **how)
                    if mode not in ("CMYK", "LA")
                    else Image.frombytes(mode, (SIZE, SIZE), modes[mode].tobytes()).save(path, **how)
                ),
                lambda path, mode=mode: as_mode(modes[mode], mode),
                tolerance=1 if mode in ("CMYK", "LA", "RGBA") else 0,
            )
    y, x = np.mgrid[:SIZE, :SIZE]
    smooth = np.stack([x * 12, y * 12, (x + y) * 6], 2).astype("u1")
    for suffix, options in {".jpg": {"quality": 95}, ".jfif": {"quality": 95, "format": "JPEG"}, ".avif": {}}.items():
        yield Layout(
            "Pillow",
            "lossy",
            suffix,
            suffix,
            lambda path, options=options: Image.fromarray(smooth).save(path, **options),
            lambda path: np.asarray(Image.open(path).convert("RGB")),
            tolerance=1,
        )
    frames = [Image.fromarray(noise("u1", SIZE, SIZE, seed=i)) for i in range(3)]
    for suffix in (".gif", ".webp", ".tif"):
        yield Layout(
            "Pillow",
            "several frames",
            suffix,
            suffix,
            lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
            None,
            "not one image",
        )
    yield Layout(
        "Pillow",
        "floats",
        "F",
        ".tif",
        lambda path: Image.fromarray(noise("f4", SIZE, SIZE)).save(path),
        None,
        "floating-point numbers",
    )


def as_mode(values: Array, mode: str) -> Array:
    """What a person sees of the values of a Pillow mode."""
    match mode:
        case "LA" | "RGBA":
            return on_white(values[..., :-1], values[..., -1].astype(float), 255)
        case "CMYK":
            left = 1 - values / 255
            return levels(left[..., :3] * left[..., 3:], 1)
        case "I;16":
            return levels(values, 65535)
        case "1":
            return levels(values.astype("u1"), 1)
        case _:
            return levels(values, 255)


def opencv() -> Iterator[Layout]:
    """Grey, BGR and BGRA of all depths that OpenCV writes."""
    depths = {
        ".png": ("u1", "u2"),
        ".tif": ("u1", "u2", "i1", "i2", "i4", "f4", "f8"),
        ".bmp": ("u1",),
    }
    for suffix, count in product(depths, (1, 3, 4)):
        for dtype in depths[suffix]:
            if count == 4 and (suffix == ".bmp" or (suffix == ".tif" and dtype not in ("u1", "u2"))):
                continue
            values = noise(dtype, SIZE, SIZE, 4)[..., :count].squeeze()
            kind, info = np.dtype(dtype), None if dtype[0] == "f" else np.iinfo(dtype)
            refused = kind.kind == "f" or kind.itemsize > 2

            def read(path: Path, values: Array = values, count: int = count, info: Any = info) -> Array:
                if count == 4 and path.suffix == ".png":
                    return on_white(values[..., 2::-1], values[..., 3].astype(float), info.max)
                return levels(values[..., 2::-1] if count > 1 else values, info.max, info.min)

            # OpenCV does not say in a TIFF that its fourth channel is transparency.
            reading = Reading(channels=("1", "2", "3")) if count == 4 and suffix == ".tif" else Reading()
            # Pillow takes the high byte of 16-bit colours in a PNG, which is one level lower for half of them.
            tolerance = int(suffix == ".png" and count > 1) * (1 if dtype == "u1" else 2)
            yield Layout(
                "OpenCV",
                f"{suffix} of all depths",
                f"{dtype}, {count} channels, {suffix}",
                suffix,
                lambda path, values=values: write_cv(path, values),
                None if refused else read,
                "whose black and white are not known" if refused else "",
                reading=reading,
                tolerance=tolerance,
            )


def write_cv(path: Path, values: Array) -> None:
    if not cv2.imwrite(str(path), values):
        raise OSError(path)


def skimage_io() -> Iterator[Layout]:
    """Arrays as scripts have them, channels first and last."""
    for dtype, shape, suffix in product(
        ("u1", "u2", "f4"), ((SIZE, SIZE), (SIZE, SIZE, 3), (3, SIZE, SIZE)), (".tif", ".png")
    ):
        if suffix == ".png" and (dtype != "u1" or shape[0] == 3):
            continue
        values = noise(dtype, *shape)

        def read(path: Path) -> Array:
            found = tifffile.imread(path) if path.suffix == ".tif" else skimage.io.imread(path)
            return levels(first(found) if found.shape[0] == 3 else found, np.iinfo(found.dtype).max)

        yield Layout(
            "scikit-image",
            f"{suffix} of arrays",
            f"{dtype} {shape}, {suffix}",
            suffix,
            lambda path, values=values: skimage.io.imsave(path, values, check_contrast=False),
            None if dtype == "f4" else read,
            "floating-point numbers" if dtype == "f4" else "",
        )
