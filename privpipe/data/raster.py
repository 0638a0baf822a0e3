"""Decoded images before their values are brought to 8 bits, and the one place where that is done.

What a reader gives is a `Raster`: values as they are stored, and what the file says that they mean. `render` selects
channels, applies the range, puts transparency on white, crops and resizes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privpipe.reading import AUTO, COMPOSITE, MAX_COMPOSITE, Reading

COLOUR_NAMES = ("red", "green", "blue")
# The colours of ImageJ's composite images, in the order of the channels, MAX_COMPOSITE of them.
TINTS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0))
Array = NDArray[Any]

UPRIGHT: dict[int, Callable[[Array], Array]] = {  # orientation: what makes an array (H, W, ...) upright
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: values.swapaxes(0, 1)[::-1, ::-1],
    8: lambda values: np.rot90(values),
}


class RefusedError(Exception):
    """An image that is not read, for the reason that the message gives."""


@dataclass(frozen=True, eq=False)
class Raster:
    """A decoded image.

    Attributes:
        values: (H, W, C) of any whole or floating type, in the byte order of the machine.
        declared: the values of black and white that the file declares; None where it declares none.
        extremes: those that its type has, for floats 0 and 1.
        colour: the first three channels are red, green and blue; otherwise each one is a channel of its own.
        names: of the channels, as far as they are known.
        tints: (C, 3) the colours of the channels in a composite, 0..1; None for those of ImageJ.
        inverted: the low value is white.
        alpha: (H, W) opacity, 0..1; `premultiplied` where the values were multiplied by it.
    """

    values: Array
    declared: tuple[float, float] | None
    extremes: tuple[float, float]
    colour: bool = False
    names: tuple[str, ...] = ()
    tints: Array | None = None
    inverted: bool = False
    alpha: Array | None = None
    premultiplied: bool = False


def upright(raster: Raster, orientation: int) -> Raster:
    """Turned and mirrored as an EXIF or TIFF orientation, 1 to 8, asks for."""
    turn = UPRIGHT.get(orientation)
    if turn is None:
        return raster
    return replace(raster, values=turn(raster.values), alpha=None if raster.alpha is None else turn(raster.alpha))


def selected(raster: Raster, reading: Reading) -> Array:
    """The channels that `reading` asks for, (H, W, C) as stored; all of them for `auto` and `composite`.

    Raises:
        RefusedError: the image has none of that number or name, or more than can be shown as one image.
    """
    count, wanted = raster.values.shape[2], reading.channels
    if wanted == (COMPOSITE,):
        if count > MAX_COMPOSITE:
            raise RefusedError(f"has {count} channels, more than the {MAX_COMPOSITE} of a composite; name some")
        return raster.values
    if wanted != (AUTO,):
        return raster.values[..., [_number(raster, channel) for channel in wanted]]
    if count == (3 if raster.colour else 1):
        return raster.values
    what = f"red, green, blue and {count - 3} further channel(s)" if raster.colour else f"{count} channels"
    names = ", ".join(f"{i} ({name})" if name else f"{i}" for i, name in enumerate(_names(raster), 1))
    raise RefusedError(
        f"has {what}, which are no one colour image: set data.channels to those you want ({names}), such as [1, 2], or "
        "to composite"
    )


def _names(raster: Raster) -> list[str]:
    known = raster.names or (COLOUR_NAMES if raster.colour else ())
    return [*known, *[""] * raster.values.shape[2]][: raster.values.shape[2]]


def _number(raster: Raster, channel: str) -> int:
    """The place of a channel that is named, or numbered from 1 on."""
    names, count = _names(raster), raster.values.shape[2]
    if channel in names:
        return names.index(channel)
    if channel.isdecimal() and 1 <= int(channel) <= count:
        return int(channel) - 1
    known = ", ".join(name for name in names if name)
    raise RefusedError(f"has no channel {channel}: it has {count}" + (f" ({known})" if known else ""))


def limits(values: Array, raster: Raster, reading: Reading) -> list[tuple[float, float]]:
    """(low, high) of each channel: the values that become 0 and 255, or the other way round where inverted.

    Raises:
        RefusedError: black and white are to be those that the file declares, and it declares none; or they were
            measured for another number of channels.
    """
    match reading.range:
        case "type":
            pairs = [raster.extremes]
        case "set":
            pairs = list(reading.limits)
        case "image":
            pairs = _percentiles(values, reading)
        case _ if raster.declared is None:
            raise RefusedError(
                f"its pixels are {_kind(raster.values.dtype)}, whose black and white are not known; set data.range to "
                "set (percentiles over the set) or type, or save it with 8 or 16 bits"
            )
        case _:
            pairs = [raster.declared]
    count: int = values.shape[2]
    if len(set(pairs)) == 1:  # also of a grey set as a composite: it had three such pairs once
        return pairs[:1] * count
    if len(pairs) != count:
        raise RefusedError(
            f"has {count} channels, and black and white were measured for {len(pairs)}; leave it out, or set "
            "data.channels to those that all images have"
        )
    return pairs


def _percentiles(values: Array, reading: Reading) -> list[tuple[float, float]]:
    flat = values.reshape(-1, 1 if reading.common else values.shape[2])
    low, high = np.percentile(flat, [reading.saturated, 100 - reading.saturated], axis=0)
    return [(float(a), float(b) if b > a else float(a) + 1) for a, b in zip(low, high, strict=True)]


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return f"floating-point numbers of {8 * dtype.itemsize} bits"
    return f"{'signed ' if dtype.kind == 'i' else ''}integers of {8 * dtype.itemsize} bits"


def render(raster: Raster, reading: Reading, size: int) -> NDArray[np.uint8]:
    """An image as `reading` says, uint8 (size, size, C): its centre square, resized (see `square`).

    Raises:
        RefusedError: see `selected` and `limits`; or values are not finite.
    """
    values = selected(raster, reading)
    pairs = limits(values, raster, reading)
    levels = _levels(values, pairs, raster.inverted)
    if reading.channels == (COMPOSITE,):
        levels = _composite(levels, raster)
    if raster.alpha is not None:
        levels = _on_white(levels, raster.alpha, raster.premultiplied)
    levels = resized(levels, size)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 and reading.count == 3 else levels


def centre(height: int, width: int) -> tuple[int, int, int]:
    """The centre square: its top, left and side."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def _levels(values: Array, pairs: list[tuple[float, float]], inverted: bool) -> NDArray[np.uint8]:
    """Values (H, W, C) as uint8, 0 for the low and 255 for the high of each channel's pair."""
    if values.dtype == np.uint8 and set(pairs) == {(0.0, 255.0)}:
        return 255 - values if inverted else values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise RefusedError("has values that are not finite (NaN or infinite); replace them first")
    exact = np.float32 if values.dtype.itemsize <= 2 else np.float64  # 16 bits times 255 keep their order in float32
    low, high = np.array(pairs, exact).T
    scaled = (values.astype(exact) - low) * (255 / (high - low))
    if inverted:
        scaled = 255 - scaled
    return rounded(scaled)


def rounded(levels: Array) -> NDArray[np.uint8]:
    """Floats to the nearest of 0..255."""
    out: NDArray[np.uint8] = np.floor(np.clip(levels, 0, 255) + levels.dtype.type(0.5)).astype(np.uint8)
    return out


def _composite(levels: NDArray[np.uint8], raster: Raster) -> NDArray[np.uint8]:
    """Channels (H, W, C) in their colours, added up, as ImageJ shows a composite: uint8 (H, W, 3)."""
    count = levels.shape[2]
    given = np.eye(3) if raster.colour and count == 3 else np.ones((1, 3)) if count == 1 else raster.tints
    tints = np.array(TINTS, float)[:count] if given is None else given
    return rounded(levels.astype(np.float32) @ tints.astype(np.float32))


def _on_white(levels: NDArray[np.uint8], alpha: Array, premultiplied: bool) -> NDArray[np.uint8]:
    opacity = np.clip(alpha, 0, 1)[..., None].astype(np.float32)
    colours = levels if premultiplied else levels * opacity
    return rounded(colours + 255 * (1 - opacity))


def resized(levels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The centre square of an image (H, W, C) at another size; an image that has the size comes back as it is."""
    if levels.shape[:2] == (size, size):
        return np.ascontiguousarray(levels)
    if levels.shape[2] == 3:
        return np.array(square(Image.fromarray(np.ascontiguousarray(levels)), size))
    bands = [Image.fromarray(np.ascontiguousarray(levels[..., i])) for i in range(levels.shape[2])]
    return np.stack([np.array(square(band, size)) for band in bands], axis=2)


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image of mode L or RGB, resized to (size, size): Lanczos, `reducing_gap=3`.

    Pixels beside the square do count at its edges: Pillow's filter reaches over them.
    """
    top, left, side = centre(image.height, image.width)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
