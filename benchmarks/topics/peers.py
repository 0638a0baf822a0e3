"""Perturbing against libraries that have such operations: `python -m benchmarks --only peers`."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import Cell, Outcome, Table
from benchmarks.setting import SIGMA, Setting
from benchmarks.timing import Spread, faster, side_by_side
from privpipe.owner.key import new_key
from privpipe.perturb.gaussian_blur import GaussianBlur, blur_sigma
from privpipe.perturb.gaussian_noise import GaussianNoise
from privpipe.perturb.pixelate import Pixelate
from privpipe.perturb.random_filter import RandomFilter

TITLE = "Perturbing, against libraries"
ABOUT = """
The same operations by libraries for augmentation and corruption, pinned in benchmarks/peers.txt, with the same sizes
and strengths as far as they allow; the table says where an operation is not the same. albumentations and
imagecorruptions take an image at a time. kornia takes float32 tensors of many; its images were made ready before the
clock ran, which ours were not: ours go from uint8 to what is stored.
"""
BATCH = 500  # images that kornia has at a time
STREAM = new_key(0).stream
Array = NDArray[Any]


@dataclass(frozen=True)
class Peer:
    """An operation of a library and ours.

    Args:
        differs: in what they are not the same.
        check: whether the results must agree, to a level of 255.
    """

    library: str
    operation: str
    ours: Callable[[Array], Array]
    prepare: Callable[[Array], Any]
    theirs: Callable[[Any], Any]
    differs: str = ""
    check: Callable[[Array, Any], bool] | None = None


def measure(setting: Setting) -> Outcome:
    rows: list[list[Cell]] = []
    for size, count, few in setting.pick([(32, 20_000, 2000), (224, 300, 50)], [(32, 1000, 200), (224, 10, 5)]):
        images = setting.images(count, size)
        for name, library in LIBRARIES.items():
            try:
                peers = list(library(size))
            except ImportError as error:
                rows.append([size, name, "", None, None, None, f"not measured: {error}"])
                continue
            for peer in peers:
                setting.tell(f"{peer.library} {peer.operation}, {count:,} images of {size}x{size}")
                try:
                    measured = _compare(setting, peer, images, few)
                except (AttributeError, TypeError) as error:  # a library that its own dependencies left behind
                    rows.append([size, name, peer.operation, None, None, None, f"not measured: {error}"])
                    continue
                rows.append([size, peer.library, peer.operation, *measured, peer.differs])
    columns = [
        "size",
        "library",
        "operation",
        "ours, µs per image",
        "theirs, µs per image",
        "ratio",
        "not the same",
    ]
    note = "ratio: how many times as fast ours is, by wall-clock time; no targets."
    return Outcome(tables=[Table("Ours and libraries", columns, rows, note)])


def _compare(setting: Setting, peer: Peer, images: Array, few: int) -> list[Cell]:
    theirs = images if peer.library == "kornia" else images[:few]  # a loop over images needs no more
    ready = peer.prepare(theirs)
    if peer.check is not None and not peer.check(peer.ours(theirs[:few]), peer.theirs(peer.prepare(theirs[:few]))):
        raise AssertionError(f"{peer.library} {peer.operation}: the contenders disagree")
    contenders = {"ours": partial(peer.ours, images), "theirs": partial(peer.theirs, ready)}
    timings = side_by_side(contenders, setting.pick(5, 2), items={"ours": len(images), "theirs": len(theirs)})
    micros = [Spread.of(timing.wall).median * 1e6 for timing in timings.values()]
    return [*micros, faster(timings, "ours", "theirs")]


def one_by_one(images: Array, call: Callable[[Array], Array]) -> list[Array]:
    return [call(image) for image in images]


def albumentations(size: int) -> Iterator[Peer]:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the internet for a newer one
    import albumentations as library

    for k in (3, 7):
        sigma = blur_sigma(k)
        blur = library.GaussianBlur(blur_limit=(k, k), sigma_limit=(sigma, sigma), p=1)
        yield Peer(
            *("albumentations", f"gaussian_blur k={k}", GaussianBlur(size, k).apply, np.asarray),
            theirs=partial(one_by_one, call=lambda image, blur=blur: blur(image=image)["image"]),
            differs="rounds another way",
            check=within_a_level,
        )
    strength = SIGMA / 255
    noise = library.GaussNoise(std_range=(strength, strength), per_channel=True, noise_scale_factor=1, p=1)
    yield Peer(
        *("albumentations", "gaussian_noise, scope image", noise_of_images(size, SIGMA), np.asarray),
        theirs=partial(one_by_one, call=lambda image: noise(image=image)["image"]),
        differs="theirs is clipped to uint8 and not from a key",
    )


def kornia(size: int) -> Iterator[Peer]:
    from kornia.filters import filter2d, gaussian_blur2d

    def prepare(images: Array) -> list[torch.Tensor]:
        whole = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
        return list(torch.split(whole, BATCH))

    for k in (3, 7):
        sigma = blur_sigma(k)
        yield Peer(
            *("kornia", f"gaussian_blur k={k}", GaussianBlur(size, k).apply, prepare),
            theirs=lambda parts, k=k, sigma=sigma: [gaussian_blur2d(x, (k, k), (sigma, sigma)) for x in parts],
            differs="theirs is float32",
            check=close,
        )
    fresh = RandomFilter(size, 5, "image", stream=STREAM)

    def with_kernels(images: Array) -> list[tuple[torch.Tensor, torch.Tensor]]:
        kernels = torch.from_numpy(fresh.image_keys(images)).float()
        return list(zip(prepare(images), torch.split(kernels, BATCH), strict=True))

    yield Peer(
        *("kornia", "random_filter k=5, scope image", fresh.apply, with_kernels),
        theirs=lambda pairs: [filter2d(x, kernels) for x, kernels in pairs],
        differs="theirs is float32 and given the kernels",
        check=close,
    )


def imagecorruptions(size: int) -> Iterator[Peer]:
    # It asks setuptools, which no longer has this, for the path of an image that is not used here.
    stand_in = ModuleType("pkg_resources")
    stand_in.__dict__["resource_filename"] = lambda package, name: name
    sys.modules.setdefault("pkg_resources", stand_in)
    try:
        from imagecorruptions import corrupt
    except ModuleNotFoundError as error:
        raise ImportError(f"it does not import here ({error})") from error

    def theirs(name: str, severity: int) -> Callable[[Array], list[Array]]:
        return partial(one_by_one, call=partial(corrupt, corruption_name=name, severity=severity))

    yield Peer(
        *("imagecorruptions", "gaussian_noise, scope image", noise_of_images(size, 0.08 * 255), np.asarray),
        theirs=theirs("gaussian_noise", 1),
        differs="severity 1; theirs is clipped to uint8 and not from a key",
    )
    yield Peer(
        *("imagecorruptions", "gaussian_blur k=7", GaussianBlur(size, 7).apply, np.asarray),
        theirs=theirs("gaussian_blur", 1),
        differs="severity 1: sigma 1, theirs reaches 4 pixels far (k=9)",
    )
    yield Peer(
        *("imagecorruptions", "pixelate k=4", Pixelate(size, 4).apply, np.asarray),
        theirs=theirs("pixelate", 5),
        differs="severity 5: a quarter of the size",
    )


def noise_of_images(size: int, sigma: float) -> Callable[[Array], Array]:
    return GaussianNoise(size, 1, "image", sigma, STREAM).apply


def within_a_level(ours: Array, theirs: list[Array]) -> bool:
    return int(np.abs(ours.astype(int) - np.stack(theirs)).max()) <= 1


def close(ours: Array, theirs: list[torch.Tensor]) -> bool:
    """To a level of 255, which rounding to uint8 and to float16 may cost."""
    scale = 255.0 if ours.dtype == np.uint8 else 1.0
    other = torch.cat(theirs).permute(0, 2, 3, 1).numpy()
    return np.allclose(ours.astype(np.float32) / scale, other, atol=1.01 / 255, rtol=2e-3)


LIBRARIES = {"albumentations": albumentations, "kornia": kornia, "imagecorruptions": imagecorruptions}
