"""The correlation attack, and how much of it is one matrix product: `python -m benchmarks --only attack`."""

import numpy as np

from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting, hot_spots
from benchmarks.timing import Spread, side_by_side
from privpipe.attacks.correlations import attack
from privpipe.attacks.moments import CHUNK_VALUES
from privpipe.owner.key import new_key
from privpipe.perturb.base import to_blocks
from privpipe.perturb.block_scramble import BlockScramble

TITLE = "The correlation attack"
ABOUT = """
`privpipe.attacks.correlations.attack` at level L0 on images under `block_scramble`, scope dataset. Most of it is one
product for each colour, pixels by images times images by pixels. That product alone was timed too, on the same
values in the same chunks, ready as float32. NumPy computes AᵀA with BLAS's `syrk`, one half of the symmetric result:
its operations are C·N·P·(P + 1), half of those of a general product, and the rate counts no more. The limit beside it
is the rate of torch's general float32 product (2,048 x 2,048) with two threads, measured in the same run. Where the
processor is made for products of 8 bits the attack takes these instead, which are exact.
"""
CPU_LIMIT = 5.0


def product(chunks: list[np.ndarray], out: np.ndarray) -> None:
    """The attack's sums of products, on chunks (C, n, P) that are ready."""
    out[:] = 0
    for centred in chunks:
        out += centred.transpose(0, 2, 1) @ centred


def measure(setting: Setting) -> Outcome:
    count = setting.pick(50_000, 2000)
    images = setting.images(count)
    colours, size = images.shape[3], images.shape[1] * images.shape[2]
    operations = colours * count * size * (size + 1)
    step = max(1, CHUNK_VALUES // (size * colours))
    targets: list[Target] = []
    rows: list[list[Cell]] = []
    for k in (2, 4, 8):
        setting.tell(f"correlation attack on {count:,} images, k={k}")
        scramble = BlockScramble(32, k, stream=new_key(0).stream)
        stolen = scramble.apply(images)
        cut = [
            to_blocks(stolen[i : i + step], k).reshape(-1, size, colours).transpose(2, 0, 1)
            for i in range(0, count, step)
        ]
        chunks = [part.astype(np.float32, order="C") - np.float32(127.5) for part in cut]
        out = np.empty((colours, size, size), np.float32)
        found = {}

        def whole(x=stolen, k=k, found=found) -> None:
            found["answer"] = attack(x, k)

        timings = side_by_side({"attack": whole, "product": lambda c=chunks, o=out: product(c, o)}, setting.pick(3, 1))
        cpu, wall = Spread.of(timings["attack"].cpu), Spread.of(timings["attack"].wall)
        product_cpu, product_wall = Spread.of(timings["product"].cpu), Spread.of(timings["product"].wall)
        share = 100 * product_cpu.median / cpu.median
        rate = operations / product_wall.median / 1e9
        right = 100 * float((found["answer"].permutations == scramble.permutations).mean())
        limit = setting.sgemm["2"]
        rows.append([k, cpu, wall, share, rate, 100 * rate / limit, right, found["answer"].confidence])
        if k == 4:
            what = f"correlation attack L0, k=4, {count:,} images, CPU time"
            bound = ""
            if cpu.median > CPU_LIMIT:
                bound = (
                    f"{share:.0f} % of it is the product, at {100 * rate / limit:.0f} % of sgemm; {hot_spots(whole)}"
                )
            targets.append(Target("attack-l0", what, "s", cpu, at_most=CPU_LIMIT, bound=bound))
    columns = [
        "k",
        "CPU, s",
        "wall clock, s",
        "product, % of CPU",
        "product, GFLOP/s",
        "of sgemm, %",
        "pixels right, %",
        "confidence",
    ]
    return Outcome(targets, [Table(f"Level L0, {count:,} stolen images", columns, rows)])
