"""The table of docs/results.md on noisy sums: accuracy beside what the noise guarantees, on an experiment's images.

    python -m privpipe.scores.release_accuracy data/private/images.h5 data/public.h5

It computes features once and releases their sums at every epsilon under several noises. Nothing that it prints is
protected: it is for the owner, to choose by. (What a release was chosen by tells of the images, too; choose on public
ones, or count this table as published.) The accuracy of the classifier of public images alone stands beside it, since
what a release adds to that is what the private images are worth.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from privpipe.owner.key import new_key
from privpipe.perturb.keystream import normal
from privpipe.statistics import mechanism, membership
from privpipe.statistics.accounting import DELTA, mu_of
from privpipe.statistics.mechanism import Budget, Sums
from privpipe.statistics.recipe import Recipe, prepare
from privpipe.statistics.values import Doubles, Floats, Labels
from privpipe.store import PUBLIC, RAW, open_store

EPSILONS, SEEDS, LINKED = (0.5, 1.0, 3.0, 8.0), 3, 1000
HEADER = [
    "| epsilon | mu | identified, at least | at most | test accuracy | without noise | public images alone |",
    "|---|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Prepared:
    """Images as vectors of a recipe.

    Args:
        recipe: made of public images.
        sums: of the private images, exact, with second moments.
        vectors: of the test images, float32 (N, d).
        labels: of the test images, int64 (N,).
        seconds: of the processor, to make all that.
    """

    recipe: Recipe
    sums: Sums
    vectors: Floats
    labels: Labels
    seconds: float


def prepared(images: str | Path, public: str | Path, *, labels: bool, dims: int) -> Prepared:
    """Make a recipe of public images, and sums of private ones.

    Args:
        images: file of raw images; those of `train` are private, those of `test` judge.
        public: file of public images.
        labels: whether the labels of public images may be used.
        dims: d.
    """
    began = time.process_time()
    with open_store(public, PUBLIC) as store:
        classes = len(store.header.class_names)
        recipe = prepare(store.images("train"), store.labels("train") if labels else None, classes, dims)
    with open_store(images, RAW) as store:
        z, y = recipe.vectors(store.images("train")), store.labels("train")
        sums = mechanism.exact_sums(z, recipe.targets(z, y), moment=True)
        vectors, known = recipe.vectors(store.images("test")), store.labels("test")
    return Prepared(recipe, sums, vectors, known, time.process_time() - began)


def table(given: Prepared, epsilons: Sequence[float], seeds: int, moment: float, delta: float = DELTA) -> str:
    """Markdown: a row for each epsilon, means over `seeds` noises with the lowest and the highest.

    Args:
        moment: fraction of the budget that second moments get, see `Budget`.
    """
    recipe, exact = given.recipe, given.sums

    def accuracy(sums: Sums) -> float:
        return 100 * recipe.head(sums).accuracy(given.vectors, given.labels)

    without = accuracy(exact if moment else Sums(exact.cross, None, exact.count))
    alone = 100 * recipe.start.head.accuracy(given.vectors, given.labels) if recipe.start.labelled else None
    lines = list(HEADER)
    for epsilon in epsilons:
        budget = Budget(mu_of(epsilon, delta), moment)
        found = [accuracy(mechanism.noisy(exact, budget, _noise(recipe, budget, seed))) for seed in range(seeds)]
        r = recipe.targets(given.vectors, given.labels)
        rng = np.random.default_rng(0)
        least = 100 * membership.linkage(given.vectors, r, given.labels, budget, rng, LINKED)
        most = 100 * membership.linkage_at_most(given.labels, budget.mu)
        cells = [
            f"{epsilon:g}",
            f"{budget.mu:.3f}",
            f"{least:.2f} %",
            f"{most:.2f} %",
            f"{np.mean(found):.1f} % ({min(found):.1f} to {max(found):.1f})",
            f"{without:.1f} %",
            "labels not used" if alone is None else f"{alone:.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _noise(recipe: Recipe, budget: Budget, seed: int) -> Doubles:
    stream = new_key(seed).stream.child("release_accuracy", f"{budget.mu!r}", f"{budget.moment!r}")
    return np.asarray(normal(stream.shared(4 * recipe.noise_count(budget)))[0])


def main(words: Sequence[str] | None = None) -> Iterator[str]:
    """What was computed, and a table for each of the fractions that are named, as they are done."""
    parser = argparse.ArgumentParser(prog="python -m privpipe.scores.release_accuracy")
    parser.add_argument("images", help="raw images: data/private/images.h5")
    parser.add_argument("public", help="public images: data/public.h5")
    parser.add_argument("--epsilons", type=float, nargs="+", default=list(EPSILONS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="noises for each epsilon")
    parser.add_argument("--dims", type=int, default=512, help="numbers of a vector, at most")
    parser.add_argument("--moments", type=float, nargs="+", default=[0.0], help="fractions for second moments")
    parser.add_argument("--without-labels", action="store_true", help="of public images")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    given = prepared(chosen.images, chosen.public, labels=not chosen.without_labels, dims=chosen.dims)
    yield (
        f"{given.sums.count:,} private images, {given.recipe.start.images:,} public ones, {len(given.labels):,} test "
        f"images, d = {given.recipe.dims}; {given.seconds / 60:.1f} minutes of processor time for the vectors"
    )
    for moment in chosen.moments:
        yield f"second moments: {moment:g} of the budget\n\n{table(given, chosen.epsilons, chosen.seeds, moment)}"


if __name__ == "__main__":
    for part in main():
        print(part, end="\n\n", flush=True)
