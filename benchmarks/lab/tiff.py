"""TIFF as tifffile writes it."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.lab.layout import SIZE, Array, Layout, first, levels, noise, on_white
from privpipe.reading import Reading

COMPRESSIONS = (None, "zlib", "lzw", "packbits", "zstd", "lzma")
KINDS: dict[str, tuple[int, dict[str, Any]]] = {  # samples, and how tifffile is told
    "grey": (1, {"photometric": "minisblack"}),
    "white is zero": (1, {"photometric": "miniswhite"}),
    "RGB": (3, {"photometric": "rgb"}),
    "RGB, alpha": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "RGB, premultiplied alpha": (4, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "RGB, a further channel": (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "grey, alpha": (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "2 channels": (2, {"photometric": "minisblack", "extrasamples": ["unspecified"]}),
    "5 channels": (5, {"photometric": "minisblack", "extrasamples": ["unspecified"] * 4}),
    "CMYK": (4, {"photometric": "separated"}),
}
SAVED_ALPHA = {"RGB, alpha", "RGB, premultiplied alpha", "grey, alpha"}


def layouts() -> Iterator[Layout]:
    """All of them."""
    yield from samples()
    yield from depths()
    yield from floats_and_signs()
    yield from stacks()
    yield from pages()
    yield from others()


def layout(kind: str, name: str, data: Array, expected: Any, refusal: str = "", **how: Any) -> Layout:
    settings = {key: how.pop(key) for key in ("reading", "tolerance") if key in how}

    def write(path: Path) -> None:
        tifffile.imwrite(path, data, **how)

    return Layout("tifffile", kind, name, ".tif", write, expected, refusal, **settings)


def samples() -> Iterator[Layout]:
    """Kinds of samples, in pixels or planes, in 8 and 16 bits, under every lossless compression and byte order."""
    ways = product(KINDS, ("u1", "u2"), ("contig", "separate"), COMPRESSIONS, "<>")
    for kind, dtype, planar, compression, order in ways:
        count, how = KINDS[kind]
        if count == 1 and planar == "separate":
            continue
        white = np.iinfo(dtype).max
        shape = (SIZE, SIZE, count) if planar == "contig" else (count, SIZE, SIZE)
        data = noise(dtype, *shape)[..., 0] if count == 1 else noise(dtype, *shape)
        if kind == "RGB, premultiplied alpha":
            data = premultiplied(data, planar)

        def read(path: Path, kind: str = kind, planar: str = planar, white: int = white) -> Array:
            values = tifffile.imread(path)
            return seen(kind, first(values) if planar == "separate" else values, white)

        refused = {"RGB, a further channel": "1 further channel", "2 channels": "has 2 channels"}
        refusal = refused.get(kind, "has 5 channels" if count == 5 else "")
        name = f"{kind}, {8 * np.dtype(dtype).itemsize} bits, {planar}, {compression}, {order}"
        more = {"planarconfig": planar} if count > 1 else {}
        if kind in ("2 channels", "5 channels", "RGB, a further channel") and compression is None:
            chosen = Reading(channels=("1", str(count)))
            yield layout(
                kind,
                f"{name}, two chosen",
                data,
                lambda path, planar=planar, white=white: levels(ends(tifffile.imread(path), planar), white),
                reading=chosen,
                compression=compression,
                byteorder=order,
                **how,
                **more,
            )
        yield layout(
            kind,
            name,
            data,
            None if refusal else read,
            refusal,
            compression=compression,
            byteorder=order,
            tolerance=1 if kind in SAVED_ALPHA or kind == "CMYK" else 0,
            **how,
            **more,
        )


def ends(values: Array, planar: str) -> Array:
    """The first and the last channel."""
    return (first(values) if planar == "separate" else values)[..., [0, -1]]


def premultiplied(data: Array, planar: str) -> Array:
    """Colours that are not over their alpha."""
    alpha = data[..., 3:] if planar == "contig" else data[3:]
    return np.minimum(data, alpha)


def seen(kind: str, values: Array, white: int) -> Array:
    """What a viewer shows."""
    if kind == "white is zero":
        return 255 - levels(values, white)
    if kind == "CMYK":
        left = 1 - values / white
        return levels(left[..., :3] * left[..., 3:], 1)
    if kind == "RGB, premultiplied alpha":
        opacity = values[..., 3:] / white
        return np.floor(np.clip(levels(values[..., :3], white) + 255 * (1 - opacity), 0, 255) + 0.5).astype(np.uint8)
    if kind in SAVED_ALPHA:
        return on_white(values[..., :-1], values[..., -1].astype(float), white)
    return levels(values, white)


def depths() -> Iterator[Layout]:
    """Bits that are packed, or fewer than their type has."""
    for bits, order in product((1, 2, 4, 10, 12, 14), "<>"):
        white = 2**bits - 1
        data = noise("u1" if bits <= 8 else "u2", SIZE, SIZE, white=white)

        def read(path: Path, white: int = white) -> Array:
            return levels(tifffile.imread(path).astype(np.uint16), white)

        if bits > 1:
            how = {"bitspersample": bits, "byteorder": order, "photometric": "minisblack"}
            yield layout("packed bits", f"{bits} bits packed, {order}", data, read, **how)
        else:
            yield layout(
                "packed bits",
                f"1 bit, {order}",
                data.astype(bool),
                lambda path: levels(tifffile.imread(path).astype(np.uint8), 1),
                photometric="minisblack",
                byteorder=order,
            )
        if bits > 8:
            for code, count in product((281, 341), (1, 3)):
                values = noise("u2", SIZE, SIZE, 3, white=white)[..., :count].squeeze()
                yield layout(
                    "declared bits",
                    f"{bits} bits in 16, tag {code}, {count} samples, {order}",
                    values,
                    lambda path, white=white: levels(tifffile.imread(path), white),
                    extratags=[(code, 3, 1, white, False)],
                    byteorder=order,
                    photometric="rgb" if count == 3 else "minisblack",
                )
            yield layout(
                "declared bits",
                f"{bits} bits in 16, OME, {order}",
                data,
                read,
                ome=True,
                byteorder=order,
                metadata={"axes": "YX", "SignificantBits": bits},
            )
            yield layout(
                "range of the image",
                f"{bits} bits in 16, percentiles, {order}",
                data,
                lambda path: levels(tifffile.imread(path), *np.percentile(tifffile.imread(path), [99.9, 0.1])),
                byteorder=order,
                reading=Reading(range="image"),
            )
    yield layout(
        "declared bits",
        "the image's own maximum as MaxSampleValue is not its range",
        noise("u2", SIZE, SIZE, white=1000),
        lambda path: levels(tifffile.imread(path), 65535),
        extratags=[(281, 3, 1, 1000, False)],
    )


def floats_and_signs() -> Iterator[Layout]:
    """Types whose black and white are the type's, or not known."""
    for dtype, order, planar in product(("i1", "i2"), "<>", (None, "contig", "separate")):
        info = np.iinfo(dtype)
        shape = {None: (SIZE, SIZE), "contig": (SIZE, SIZE, 3), "separate": (3, SIZE, SIZE)}[planar]
        how: dict[str, Any] = {"photometric": "minisblack"} if planar is None else {}
        if planar is not None:
            how = {"photometric": "rgb", "planarconfig": planar}

        def read(path: Path, planar: str | None = planar, info: Any = info) -> Array:
            values = tifffile.imread(path)
            return levels(first(values) if planar == "separate" else values, info.max, info.min)

        yield layout("signed", f"{dtype}, {planar}, {order}", noise(dtype, *shape), read, byteorder=order, **how)
    for dtype, order, count in product(("f2", "f4", "f8", "u4", "i4", "u8"), "<>", (1, 3)):
        data = noise(dtype, SIZE, SIZE, 3)[..., :count].squeeze()
        photometric = "rgb" if count == 3 else "minisblack"
        how = {"byteorder": order, "photometric": photometric}
        kind = "floats" if dtype[0] == "f" else "32 and 64 bits"
        words = "floating-point numbers" if dtype[0] == "f" else "integers of"
        yield layout(kind, f"{dtype}, {count} samples, {order}", data, None, words, **how)
        limits = (1.0, 0.0) if dtype[0] == "f" else (np.iinfo(dtype).max, np.iinfo(dtype).min)
        yield layout(
            kind,
            f"{dtype}, {count} samples, {order}, range of the type",
            data,
            lambda path, limits=limits: levels(tifffile.imread(path), *limits),
            reading=Reading(range="type"),
            tolerance=1 if dtype in ("f2", "f4") else 0,  # products of 24 bits
            **how,
        )
    for dtype in ("c8", "c16"):
        yield layout("floats", dtype, np.ones((SIZE, SIZE), dtype), None, "complex numbers", photometric="minisblack")


def stacks() -> Iterator[Layout]:
    """Hyperstacks and OME-TIFF."""
    for ome, order in product((False, True), "<>"):
        form: dict[str, Any] = {"byteorder": order} | ({"ome": True} if ome else {"imagej": True})
        family = "OME-TIFF" if ome else "ImageJ"
        for dtype, axes in product(("u1", "u2"), ("ZYX", "TYX", "TZYX", "CYX", "ZCYX")):
            sizes = {"Z": 3, "T": 2, "C": 3, "Y": SIZE, "X": SIZE}
            ordered = axes if not ome or axes != "ZCYX" else "CZYX"
            data = noise(dtype, *[sizes[axis] for axis in ordered])
            white, meta = np.iinfo(dtype).max, {"axes": ordered}
            if ome and "C" in ordered:
                meta |= {"Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
            others = tuple(i for i, axis in enumerate(ordered) if axis not in "CYX")
            form["metadata"] = meta
            refusal = "planes" if others else "has 3 channels"
            name = f"{family} {ordered}, {dtype}, {order}"
            yield layout("stacks and channels", name, data, None, refusal, **form)
            chosen = ("3", "1") if not (ome and "C" in ordered) else ("Cy5", "DAPI")

            def read(path: Path, stack: str, others: Any = others, ordered: str = ordered, white: int = white) -> Array:
                values = tifffile.imread(path)
                for axis in reversed(others):
                    values = values.max(axis=axis) if stack == "max" else values.take(0, axis=axis)
                return levels(first(values)[..., [2, 0]] if "C" in ordered else values, white)

            for stack in ("first", "max"):
                reading = Reading(channels=chosen if "C" in ordered else ("auto",), stack=stack)
                yield layout(
                    "stacks and channels",
                    f"{name}, {stack}",
                    data,
                    lambda path, stack=stack, read=read: read(path, stack),
                    reading=reading,
                    **form,
                )
            if axes == "CYX":
                yield layout(
                    "stacks and channels",
                    f"{name}, composite",
                    data,
                    lambda path, white=white: levels(first(tifffile.imread(path)), white),
                    reading=Reading(channels=("composite",)),
                    **form,
                )
    for count in (2, 3):
        data = noise("u1", count, SIZE, SIZE)
        how: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
        yield layout("stacks and channels", f"{count} pages", data, None, f"{count} planes", **how)
        yield layout(
            "stacks and channels",
            f"{count} pages as channels",
            data,
            lambda path: levels(first(tifffile.imread(path))[..., [0, 1]], 255),
            reading=Reading(channels=("1", "2")),
            **how,
        )


def pages() -> Iterator[Layout]:
    """Files of an image and its smaller selves, and of several images."""
    image, small = noise("u1", SIZE, SIZE, 3), noise("u1", SIZE // 2, SIZE // 2, 3, seed=1)

    def thumbnail_first(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(small, subfiletype=1, photometric="rgb")
            writer.write(image, photometric="rgb")

    def thumbnail_last(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(image, photometric="rgb")
            writer.write(small, subfiletype=1, photometric="rgb")

    def pyramid(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(image, subifds=1, photometric="rgb")
            writer.write(small, subfiletype=1, photometric="rgb")

    def mask(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(image, photometric="rgb")
            writer.write(image[..., 0] > 9, subfiletype=4)

    def two(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(small, photometric="rgb")
            writer.write(image, photometric="rgb")

    for write in (thumbnail_first, thumbnail_last, pyramid, mask):
        name = write.__name__.replace("_", " ")
        yield Layout("tifffile", "pages", name, ".tif", write, lambda path: image)
    yield Layout("tifffile", "pages", "two images of different sizes", ".tif", two, None, "2 images of different kinds")


def others() -> Iterator[Layout]:
    """Palettes, tiles, predictors, BigTIFF, lossy and modern compressions, orientation, and what is no colour."""
    colours = noise("u2", 3, 256)
    index = noise("u1", SIZE, SIZE)
    yield layout(
        "palette",
        "8 bits",
        index,
        lambda path: first(colours >> 8)[index].astype(np.uint8),
        photometric="palette",
        colormap=colours,
    )
    for order, dtype, count in product("<>", ("u1", "u2"), (1, 3)):
        data = noise(dtype, SIZE, SIZE, 3)[..., :count].squeeze()
        white, photometric = np.iinfo(dtype).max, "rgb" if count == 3 else "minisblack"
        ways: dict[str, dict[str, Any]] = {
            "BigTIFF": {"bigtiff": True},
            "tiles": {"tile": (16, 16)},
            "a row to a strip": {"rowsperstrip": 1},
            "LZW with predictor": {"compression": "lzw", "predictor": True},
            "deflate with predictor": {"compression": "zlib", "predictor": True},
            "JPEG 2000": {"compression": "jpeg2000"},
            "lossless JPEG XL": {"compression": "jpegxl"},
            "PNG": {"compression": "png"},
            "LERC": {"compression": "lerc"},
        }
        for name, way in ways.items():
            if order == ">" and name in ("JPEG 2000", "lossless JPEG XL", "PNG", "LERC"):
                continue  # whose encoders take the machine's order only
            yield layout(
                "compressions and storage",
                f"{name}, {dtype}, {count} samples, {order}",
                data,
                lambda path, white=white: levels(tifffile.imread(path), white),
                byteorder=order,
                photometric=photometric,
                **way,
            )
    smooth = np.add.outer(np.arange(SIZE), np.arange(SIZE))[..., None] * np.array([8, 4, 2]) % 256
    for name, count in product(("jpeg", "webp"), (1, 3)):
        if (name, count) == ("webp", 1):
            continue
        yield layout(
            "compressions and storage",
            f"{name}, {count} samples",
            smooth.astype("u1")[..., :count].squeeze(),
            lambda path: levels(tifffile.imread(path), 255),
            compression=name,
            photometric="rgb" if count == 3 else "minisblack",
            tolerance=4,
        )
    for orientation, dtype in product(range(1, 9), ("u1", "u2")):
        values, white = noise(dtype, SIZE, SIZE, 3), np.iinfo(dtype).max
        yield layout(
            "orientation",
            f"{orientation}, {dtype}",
            values,
            lambda path, o=orientation, white=white: levels(turned(tifffile.imread(path), o), white),
            photometric="rgb",
            extratags=[(274, 3, 1, orientation, True)],
        )
    for photometric, words in (("cfa", "raw values"), ("cielab", "LAB"), ("logl", "logarithmic")):
        shape = (SIZE, SIZE, 3) if photometric == "cielab" else (SIZE, SIZE)
        more = {"extratags": [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]}
        how = more if photometric == "cfa" else {}
        yield layout("no grey or RGB", photometric, noise("u1", *shape), None, words, photometric=photometric, **how)


def turned(values: Array, orientation: int) -> Array:
    """An array as TIFF 6.0 defines the orientation: where its row 0 and its column 0 are."""
    rows = values.swapaxes(0, 1) if orientation >= 5 else values
    bottom = orientation in (3, 4, 7, 8)
    right = orientation in (2, 3, 6, 7)
    return rows[:: -1 if bottom else 1, :: -1 if right else 1]
