"""What attack and score cost for larger images: `python -m benchmarks --only sizes`."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.child import Cost, in_child, peak_memory
from benchmarks.results import Cell, Figure, Line, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, power_law

TITLE = "Attacks on larger images"
ABOUT = """
Every attack that applies, at every level, and every score, on uploads of drawn images. The adversary learns from the
uploads that it restores, has as many public images and 100 known pairs, and its restoration network takes three passes
over the public images (the default of `attack.network_epochs`). The score has the originals and the key, and tells each
upload from all originals. Each point ran in a fresh process on one thread: CPU seconds of attack and score, without
drawing and perturbing; and the peak of resident memory of the whole process, as the kernel counted it.
"""
CASES = (("block_scramble", 8, "dataset"), ("block_scramble", 8, "image"), ("gaussian_blur", 7, "dataset"))
PAIRS, EPOCHS = 100, 3
UPLOADS = {32: 1000, 64: 1000, 128: 1000, 224: 1000}  # by the side of the images in pixels; in all about 1.5 hours
LIMITS = {128: (600.0, 3.0), 224: (2400.0, 6.0)}  # CPU seconds and GiB, of 1,000 uploads


def attack_and_score(side: int, count: int, method: str, k: int, scope: str) -> dict[str, Any]:
    """CPU seconds of attack and score, and the best SSIM of each level; for a process of its own."""
    import torch

    from privpipe.attacks.base import AdversaryView, Pairs
    from privpipe.attacks.registry import attacks
    from privpipe.attacks.suite import suite
    from privpipe.data.synthetic import draw
    from privpipe.owner.key import new_key
    from privpipe.perturb import PERTURBATIONS
    from privpipe.scores.identification import identification
    from privpipe.scores.scoring import judge

    torch.set_num_threads(1)
    drawn = draw(2 * count + PAIRS, side, rng=np.random.default_rng(0))
    originals, known, public = np.split(drawn.images, [count, count + PAIRS])
    labels = drawn.labels[:count]
    transformation = PERTURBATIONS[method](side, k, scope, 0.0, new_key(0).stream)
    uploads, pairs = transformation.apply(originals), Pairs(known, transformation.apply(known))
    view = AdversaryView(method, k, scope, 0.0, uploads, uploads, public, pairs, transformation.settings)

    def brightness(images: np.ndarray) -> np.ndarray:
        """In place of the reference classifier, which costs the same everywhere."""
        return np.asarray(images.mean(axis=(1, 2, 3)) // 26, np.int64)

    start = time.process_time()
    records = suite(view, attacks(EPOCHS, 0, 1, "cpu"))
    attacked, drawn_peak = time.process_time(), peak_memory()
    judgement = judge(view, records, originals, labels, transformation, brightness)
    identification(transformation, originals, labels, uploads)
    scored = time.process_time()
    refused = [f"{level} {attack}: {why}" for level, attack, _, why in judgement.problems]
    return {
        "attack": attacked - start,
        "score": scored - attacked,
        "attack_peak": drawn_peak,
        "ssim": {level: judgement.metrics[f"{level}_ssim"] for level in ("l0", "l1", "l2", "l3")},
        "refused": refused,
    }


def measure(setting: Setting) -> Outcome:
    uploads = setting.pick(UPLOADS, {16: 20, 32: 20, 40: 20})
    targets: list[Target] = []
    rows: list[list[Cell]] = []
    lines: tuple[list[Line], list[Line]] = ([], [])
    for case in CASES:
        costs: dict[int, Cost] = {}
        for side, count in uploads.items():
            setting.tell(f"{name(case)}, {count:,} images of {side}x{side}")
            method, k, scope = case
            arguments = {"side": side, "count": count, "method": method, "k": k, "scope": scope}
            costs[side] = in_child("benchmarks.topics.sizes:attack_and_score", arguments)
            rows.append(row(case, side, count, costs[side]))
            targets += judged(case, side, count, costs[side])
        for which, values in zip(lines, growth(uploads, costs), strict=True):
            which.append(line(name(case), list(uploads), values))
    columns = [
        "images under",
        "pixels",
        "uploads",
        "attack, CPU s",
        "score, CPU s",
        "peak, MiB",
        "best SSIM, L0, L1",
        "L2",
    ]
    figures = [
        Figure(
            "sizes-seconds", "Attack and score against pixels", "pixels of an image", "CPU seconds per 1,000", lines[0]
        ),
        Figure(
            "sizes-memory", "Memory of attack and score against pixels", "pixels of an image", "peak, MiB", lines[1]
        ),
    ]
    return Outcome(targets, [Table("Attack and score", columns, rows, "One run each.")], figures)


def name(case: tuple[str, int, str]) -> str:
    method, k, scope = case
    return f"{method} k={k}, scope {scope}"


def spent(cost: Cost) -> float:
    """CPU seconds of attack and score."""
    return float(cost.value["attack"] + cost.value["score"])


def row(case: tuple[str, int, str], side: int, count: int, cost: Cost) -> list[Cell]:
    ssim = cost.value["ssim"]
    both = f"{ssim['l0']:.2f}, {ssim['l1']:.2f}"
    seconds = [cost.value["attack"], cost.value["score"]]
    return [name(case), f"{side}x{side}", count, *seconds, round(cost.peak / 2**20), both, ssim["l2"]]


def growth(uploads: dict[int, int], costs: dict[int, Cost]) -> tuple[list[float], list[float]]:
    """CPU seconds for 1,000 uploads, and MiB, by size."""
    return (
        [1000 * spent(costs[side]) / count for side, count in uploads.items()],
        [costs[side].peak / 2**20 for side in uploads],
    )


def line(label: str, sides: Sequence[int], values: list[float]) -> Line:
    """Values against pixels, and the power law that fits them; in proportion is expected."""
    pixels = [float(side * side) for side in sides]
    exponent, factor = power_law(pixels, values)
    return Line(label, pixels, values, exponent, factor, 1)


def judged(case: tuple[str, int, str], side: int, count: int, cost: Cost) -> list[Target]:
    """The targets of 1,000 uploads of some sizes."""
    if side not in LIMITS or count < 1000:
        return []
    what, (seconds, gib) = f"attack and score of {count:,} images of {side}x{side}, {name(case)}", LIMITS[side]
    slug = f"{case[0].replace('_', '-')}-{case[2]}-{side}"
    return [
        Target(f"sizes-cpu-{slug}", f"{what}: CPU time", "s", Spread.of([spent(cost)]), at_most=seconds),
        Target(f"sizes-memory-{slug}", f"{what}: peak memory", "GiB", Spread.of([cost.peak / 2**30]), at_most=gib),
    ]
