"""How time grows with images, with k and with models: `python -m benchmarks --only growth`."""

from collections.abc import Callable, Iterable
from functools import partial

import torch

from benchmarks.loops import new_model, ours, recipe
from benchmarks.results import Cell, Figure, Line, Outcome, Table
from benchmarks.setting import SIGMA, Setting
from benchmarks.timing import Spread, power_law, side_by_side
from benchmarks.topics.sweep import WORKERS, all_at_once, start, write_set
from privpipe.attacks.correlations import attack
from privpipe.nn.inference import measure as normalisation
from privpipe.owner.key import new_key
from privpipe.perturb import METHODS
from privpipe.pipeline.executors import open_executor

TITLE = "How time grows"
ABOUT = """
Wall-clock time against a size that doubles and doubles, and the exponent e of the law time = f · size^e that fits best
(least squares on the logarithms): 1 is in proportion, 0 does not depend. What is expected follows from the operations;
a measured exponent is smaller where something that does not grow takes its part of the time. The correlation attack's
product does not depend on k, and takes most of the time for small k; its assignments grow as k⁴.
"""
STREAM = new_key(0).stream


def measure(setting: Setting) -> Outcome:
    figures = [against_images(setting), against_k(setting), against_models(setting)]
    rows: list[list[Cell]] = [
        [figure.x_label, line.label, " ".join(f"{x:,g}" for x in line.x), line.exponent, line.expected]
        for figure in figures
        for line in figure.lines
    ]
    table = Table("Exponents", ["against", "what", "sizes", "exponent", "expected"], rows)
    return Outcome(tables=[table], figures=figures)


def line(
    setting: Setting,
    label: str,
    sizes: Iterable[int],
    expected: float,
    call: Callable[[int], Callable[[], object]],
    per: float = 1.0,
) -> Line:
    """Seconds of `call(size)()` over `per` for every size, in turns, and the law that fits them."""
    setting.tell(f"growth: {label}")
    contenders = {str(size): call(size) for size in sizes}
    timings = side_by_side(contenders, setting.pick(3, 1))
    x = [float(size) for size in contenders]
    y = [Spread.of(timing.wall).median / per for timing in timings.values()]
    exponent, factor = power_law(x, y)
    return Line(label, x, y, exponent, factor, expected)


def against_images(setting: Setting) -> Figure:
    """Perturbing, training and attacking more and more images."""
    counts = setting.pick((2000, 4000, 8000, 16_000, 32_000), (200, 400))
    images = setting.images(max(counts))
    lines = []
    for method, k, scope in (
        ("gaussian_blur", 7, "dataset"),
        ("block_scramble", 4, "dataset"),
        ("random_filter", 5, "image"),
        ("gaussian_noise", 1, "image"),
    ):
        perturb = METHODS[method](32, k, scope, SIGMA, STREAM).apply
        label = f"{method}, scope {scope}"
        lines.append(line(setting, label, counts, 1, lambda n, perturb=perturb: partial(perturb, images[:n])))
    stolen = METHODS["block_scramble"](32, 4, stream=STREAM).apply(images)
    lines.append(line(setting, "correlation attack, k=4", counts, 1, lambda n: partial(attack, stolen[:n], 4)))
    few = setting.pick((512, 1024, 2048, 4096), (64, 128))
    tensors, labels = torch.from_numpy(images), torch.from_numpy(setting.labels(max(counts)))
    model, normalise = new_model("baseline"), normalisation(tensors)

    def train(n: int) -> Callable[[], object]:
        return partial(ours, model, normalise, tensors[:n], labels[:n], recipe("baseline", "auto"))

    lines.append(line(setting, "training, baseline, an epoch", few, 1, train))
    return Figure("growth-images", "Time against the number of images (32x32)", "images", "seconds", lines)


def against_k(setting: Setting) -> Figure:
    """Perturbing and attacking with larger filters and blocks."""
    count = setting.pick(4000, 200)
    images = setting.images(count)
    lines = []
    odd, blocks = (3, 5, 7, 9, 11), (2, 4, 8, 16)
    for method, scope, sizes, expected in (
        ("gaussian_blur", "dataset", odd, 1),
        ("random_filter", "dataset", odd, 2),
        ("random_filter", "image", odd, 2),
        ("block_scramble", "dataset", blocks, 0),
        ("block_scramble", "image", blocks, 0),
        ("block_mix", "dataset", blocks, 2),
    ):

        def call(k: int, method: str = method, scope: str = scope) -> Callable[[], object]:
            return partial(METHODS[method](32, k, scope, 0.0, STREAM).apply, images)

        lines.append(line(setting, f"{method}, scope {scope}", sizes, expected, call, count * 1e-6))

    more = setting.images(setting.pick(16_000, 400))

    def attack_with(k: int) -> Callable[[], object]:
        return partial(attack, METHODS["block_scramble"](32, k, stream=STREAM).apply(more), k)

    label = f"correlation attack on {len(more):,}"
    lines.append(line(setting, label, blocks, 0, attack_with, len(more) * 1e-6))
    title = f"Time against k ({count:,} images of 32x32)"
    return Figure("growth-k", title, "k in pixels", "microseconds per image", lines)


def against_models(setting: Setting) -> Figure:
    """Training more and more small models in two workers of one thread."""
    count, models = setting.pick(1024, 64), setting.pick((1, 2, 4, 8), (1, 2))
    path = write_set(setting, count)
    with open_executor("processes", WORKERS, "cpu", 1) as (pool, _):
        start(pool, path)

        def sweep(n: int) -> Callable[[], object]:
            return partial(all_at_once, pool, path, n, "auto", "three_layer")

        lines = [line(setting, "three_layer, two workers of one thread", models, 1, sweep)]
        pool.shutdown()
    title = f"Time against the number of models ({count:,} images, an epoch each)"
    return Figure("growth-models", title, "models", "seconds", lines)
