"""Perturbing against the loop over images that one would write: `python -m benchmarks --only perturbation`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.child import in_child
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import SIGMA, Setting, hot_spots
from benchmarks.timing import Spread, Timing, faster, side_by_side
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file
from privpipe.parameters import Perturb
from privpipe.perturb import METHODS
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.perturb.gaussian_blur import GaussianBlur, blur_sigma
from privpipe.perturb.gaussian_noise import GaussianNoise
from privpipe.perturb.keystream import Copies, OwnStreams
from privpipe.perturb.random_filter import RandomFilter

TITLE = "Perturbing"
ABOUT = """
Each method is measured on arrays in memory against a loop over the images that calls OpenCV or NumPy once for each.
Where the loop can do the very same, the results were compared before the clock ran. Keyed methods under `scope: image`
cannot be compared like that: the loop draws from NumPy's generator, ours from the key. Both handle as many images as
the pipeline does at a time, since more would measure how fast the machine hands out memory; all seconds are per
image. Ratios are of wall-clock time (both use what threads they use by themselves), those of CPU time stand beside
them.

The second table perturbs whole files with `privpipe.owner.perturbing.perturb_file`, reading, writing and syncing
included, in a fresh process for each, and states its CPU seconds.
"""
SEED = 0
STREAM = new_key(0).stream
CPU_LIMIT = 3.0  # seconds for 60,000 images
FILE_IMAGES = 60_000
PATIENCE = 8.0  # seconds for one method; a slower one is measured less often
# method, k, scope: every method in every scope that it has
FILES = (
    ("none", 1, "dataset"),
    ("gaussian_blur", 7, "dataset"),
    ("pixelate", 4, "dataset"),
    *((("block_scramble"), k, scope) for k in (4, 8) for scope in ("dataset", "image")),
    *(("random_filter", 5, scope) for scope in ("dataset", "image")),
    *(("block_mix", k, scope) for k in (4, 8) for scope in ("dataset", "image")),
    *(("gaussian_noise", 1, scope) for scope in ("dataset", "image")),
    *(("correlated_noise", 5, scope) for scope in ("dataset", "image")),
)
Array = NDArray[Any]


def blur_loop(images: Array, k: int) -> Array:
    out = np.empty_like(images)
    for i, image in enumerate(images):
        out[i] = cv2.GaussianBlur(image, (k, k), blur_sigma(k))
    return out


def filter_loop(images: Array, kernels: Iterable[Array]) -> Array:
    out = np.empty(images.shape, np.float16)
    for i, (image, kernel) in enumerate(zip(images, kernels, strict=False)):
        out[i] = cv2.filter2D(image.astype(np.float32) / 255, cv2.CV_32F, kernel).astype(np.float16)
    return out


def fresh_filter_loop(images: Array, k: int) -> Array:
    return filter_loop(images, (np.random.default_rng((SEED, i)).standard_normal((k, k)) for i in range(len(images))))


def scramble_loop(images: Array, k: int, permutations: Array) -> Array:
    out = np.empty_like(images)
    side = images.shape[1] // k
    for i, image in enumerate(images):
        blocks = image.reshape(side, k, side, k, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, k * k, 3)
        moved = np.take_along_axis(blocks, permutations[..., None], axis=1)
        out[i] = moved.reshape(side, side, k, k, 3).transpose(0, 2, 1, 3, 4).reshape(image.shape)
    return out


def scramble_block_loop(images: Array, k: int, permutations: Array) -> Array:
    out = np.empty_like(images)
    side = images.shape[1] // k
    for i, image in enumerate(images):
        for b, permutation in enumerate(permutations):
            y, x = b // side * k, b % side * k
            out[i, y : y + k, x : x + k] = image[y : y + k, x : x + k].reshape(k * k, 3)[permutation].reshape(k, k, 3)
    return out


def noise_loop(images: Array, dtype: type) -> Array:
    rng = np.random.default_rng(SEED)
    out = np.empty(images.shape, np.float16)
    for i, image in enumerate(images):
        noise = rng.standard_normal(image.shape, dtype)
        out[i] = ((image + dtype(SIGMA) * noise) / 255).astype(np.float16)
    return out


class GivenKernels(RandomFilter):
    """A random filter whose kernels are handed to it, to time the filtering alone."""

    def __init__(self, image_size: int, k: int, kernels: Array):
        super().__init__(image_size, k, "image", stream=STREAM)
        object.__setattr__(self, "kernels", kernels)

    # Set past a frozen dataclass, whose fields are those of every method.
    def _own(self, images: Array, copies: Copies | None) -> OwnStreams:
        object.__setattr__(self, "place", 0)
        return super()._own(images, copies)

    def _kernels(self, images: Array, own: OwnStreams) -> Array:
        first, stop = self.place, self.place + len(images)
        object.__setattr__(self, "place", stop)
        return self.kernels[first:stop]


@dataclass(frozen=True)
class Contest:
    """Ours and a loop.

    Args:
        at_least: the ratio to reach; None: for information.
        same: whether both must give the same result.
    """

    id: str
    what: str
    ours: Callable[[Array], Array]
    loop: Callable[[Array], Array]
    at_least: float | None = None
    same: bool = True


def contests(size: int, count: int) -> Iterator[Contest]:
    """What is compared on up to `count` images of `size` pixels."""
    for k in (3, 5, 7):
        blur = GaussianBlur(size, k)
        yield Contest(f"blur-k{k}", f"gaussian_blur k={k}", blur.apply, partial(blur_loop, k=k), 2)
    fresh = RandomFilter(size, 5, "image", stream=STREAM)
    loop = partial(fresh_filter_loop, k=5)
    yield Contest("filter-image", "random_filter k=5, scope image", fresh.apply, loop, 2, same=False)
    kernels = np.random.default_rng(SEED).standard_normal((count, 5, 5))
    given = GivenKernels(size, 5, kernels)
    loop = partial(filter_loop, kernels=kernels)
    yield Contest("filter-given", "the same, kernels given to both", given.apply, loop)
    shared = RandomFilter(size, 5, stream=STREAM)
    loop = partial(filter_loop, kernels=repeat(shared.weights))
    yield Contest("filter-shared", "random_filter k=5, scope dataset", shared.apply, loop)
    for k in (4, 8):
        scramble, what = BlockScramble(size, k, stream=STREAM), f"block_scramble k={k}, scope dataset"
        how = {"k": k, "permutations": scramble.permutations}
        yield Contest(f"scramble-k{k}", what, scramble.apply, partial(scramble_loop, **how), 10)
        yield Contest(
            f"scramble-blocks-k{k}", "the same, a loop over blocks", scramble.apply, partial(scramble_block_loop, **how)
        )
    noise = GaussianNoise(size, 1, "image", SIGMA, STREAM)
    loop = partial(noise_loop, dtype=np.float64)
    yield Contest("noise-image", "gaussian_noise, scope image", noise.apply, loop, 3, same=False)
    loop = partial(noise_loop, dtype=np.float32)
    yield Contest("noise-float32", "the same, the loop in float32", noise.apply, loop, same=False)


def agree(ours: Array, other: Array) -> bool:
    """Exact values alike, float16 ones up to the rounding of float32 sums."""
    if ours.dtype == np.uint8:
        return np.array_equal(ours, other)
    return np.allclose(ours.astype(np.float32), other.astype(np.float32), rtol=2e-3, atol=2e-3)


def measure(setting: Setting) -> Outcome:
    targets, rows, facts = [], [], {}
    for size, count in setting.pick([(32, 6000), (224, 100)], [(32, 500), (224, 10)]):
        images = setting.images(count, size)
        for contest in contests(size, count):
            setting.tell(f"{contest.what}, {count:,} images of {size}x{size}")
            if contest.same and not agree(contest.ours(images), contest.loop(images)):
                raise AssertionError(f"{contest.id} at {size}: the contenders disagree")
            ours, loop = partial(contest.ours, images), partial(contest.loop, images)
            contenders = {"ours": ours, "loop": loop}
            timings = side_by_side(contenders, setting.pick(9, 3), items=dict.fromkeys(contenders, count))
            value = faster(timings, "ours", "loop")
            rows.append([size, contest.what, *per_image(timings), value, faster(timings, "ours", "loop", "cpu")])
            facts[f"perturb_seconds_{size}_{contest.id}"] = Spread.of(timings["ours"].wall).median
            if contest.at_least is not None and size == 32:
                bound = hot_spots(ours) if value.median < contest.at_least else ""
                what = f"{contest.what}: against a loop over images"
                targets.append(Target(contest.id, what, "x", value, at_least=contest.at_least, bound=bound))
    columns = ["size", "method", "ours, µs per image", "loop, µs per image", "ratio", "ratio of CPU time"]
    note = "Targets are of 32x32; the images of 224x224 are drawn ones."
    files, file_target = measure_files(setting)
    table = Table("Ours and a loop over images", columns, rows, note)
    return Outcome([*targets, file_target], [table, files], facts=facts)


def per_image(timings: dict[str, Timing]) -> list[Cell]:
    """Median microseconds of wall-clock time per image, of each contender."""
    return [Spread.of(timing.wall).median * 1e6 for timing in timings.values()]


def measure_files(setting: Setting) -> tuple[Table, Target]:
    """CPU seconds of `perturb_file` for every method, and the worst of them as a target."""
    count = setting.pick(FILE_IMAGES, 3000)
    folder = setting.folder("perturb")
    source = setting.raw_file(folder / "raw.h5", count)
    rows: list[list[Cell]] = []
    worst: tuple[float, dict[str, Any], Spread] = (0.0, {}, Spread(0, 0, 0))
    for method, k, scope in FILES:
        setting.tell(f"perturb a file of {count:,} images: {method} k={k}, scope {scope}")
        how = {"method": method, "k": k, "scope": scope}
        arguments = {"source": str(source), "target": str(folder / "out.h5"), "how": how}
        costs = [in_child("benchmarks.topics.perturbation:perturb_once", arguments)]
        while len(costs) < setting.pick(3, 1) and sum(cost.wall for cost in costs) < PATIENCE:
            costs.append(in_child("benchmarks.topics.perturbation:perturb_once", arguments))
        cpu = Spread.of([cost.cpu for cost in costs])
        wall, peak = Spread.of([cost.wall for cost in costs]), max(cost.peak for cost in costs)
        meaningless = method in ("none", "gaussian_noise")
        rows.append([method, None if meaningless else k, scope, cpu, wall, round(peak / 2**20)])
        if cpu.median > worst[0]:
            worst = cpu.median, how, cpu
    slowest = worst[1]
    target = Target(
        "perturb-files",
        f"{count:,} images perturbed and on disk, CPU time of the slowest method "
        f"({slowest['method']} k={slowest['k']}, scope {slowest['scope']})",
        "s",
        worst[2],
        at_most=CPU_LIMIT,
        bound=files_bound(setting, slowest) if worst[0] > CPU_LIMIT else "",
    )
    columns = ["method", "k", "scope", "CPU, s", "wall clock, s", "peak memory, MiB"]
    note = f"The limit is {CPU_LIMIT:g} s of CPU time. Noise has sigma {SIGMA:g}."
    return Table(f"{count:,} images of 32x32 from file to file", columns, rows, note), target


def files_bound(setting: Setting, how: dict[str, Any]) -> str:
    """What the slowest method spends its time on, and how much key material it takes."""
    images = setting.images(setting.pick(1000, 100))
    method = METHODS[how["method"]](32, how["k"], how["scope"], SIGMA, STREAM)
    keys = method.image_keys(images[:1]) if how["scope"] == "image" else None
    fresh = f"{keys.size * FILE_IMAGES / 1e6:,.0f} million fresh values of key material; " if keys is not None else ""
    return f"{fresh}{hot_spots(partial(method.apply, images))}"


def perturb_once(source: str, target: str, how: dict[str, Any]) -> None:
    """What a child process runs."""
    sigma = SIGMA if "noise" in how["method"] else 0.0
    perturb_file(source, target, Perturb(sigma=sigma, **how), new_key(0), progress=False)
