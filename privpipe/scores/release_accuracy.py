"""The tables of docs/results.md on releases of a whole set: accuracy beside what the noise guarantees.

    python -m privpipe.scores.release_accuracy data/private/images.h5 data/public.h5
    python -m privpipe.scores.release_accuracy data/private/images.h5 data/public.h5 --mixed 500 --without-labels

It computes vectors once and makes releases of them at every epsilon under several noises: `dp_statistics` for each of
`--moments`, `dp_mixtures` for each of `--mixed`. Nothing that it prints is protected: it is for the owner, to choose
by. (What a release was chosen by tells of the images, too; choose on public ones, or count this table as published.)
The accuracy of the classifier of public images alone stands beside it, since what a release adds to that is what the
private images are worth.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from privpipe.files import write_csv
from privpipe.owner.key import new_key
from privpipe.perturb.keystream import KeyStream, below, fine_normal
from privpipe.perturb.release import NOISE_BYTES
from privpipe.scores.accuracy_rows import COLUMNS, WITH, WITHOUT, Row, cells, markdown
from privpipe.statistics import heads, mechanism, membership, mixtures
from privpipe.statistics.accounting import DELTA, mu_of, without_luck
from privpipe.statistics.heads import Head
from privpipe.statistics.mechanism import Budget, Sums
from privpipe.statistics.mixtures import Mixing
from privpipe.statistics.recipe import Recipe, prepare
from privpipe.statistics.values import Doubles, Floats, Labels
from privpipe.store import PUBLIC, RAW, open_store

EPSILONS, SEEDS, LINKED = (0.5, 1.0, 3.0, 8.0), 3, 1000
DRAW_BYTES = 8  # of one value


@dataclass(frozen=True)
class Vectors:
    """Vectors z, float32 (N, d), and labels, int64 (N,)."""

    z: Floats
    labels: Labels


@dataclass(frozen=True)
class Prepared:
    """Images as vectors of a recipe.

    Args:
        recipe: made of public images.
        private: of the training images.
        tests: of the test images, which judge.
        minutes: of the processor, to make all that.
    """

    recipe: Recipe
    private: Vectors
    tests: Vectors
    minutes: float

    @property
    def public(self) -> str:
        """Whether classes of public images were used, as `Row.public` says it."""
        return WITH if self.recipe.start.labelled else WITHOUT

    def accuracy(self, head: Head) -> float:
        """On test images, 0..1."""
        return head.accuracy(self.tests.z, self.tests.labels)


def prepared(images: str | Path, public: str | Path, *, labels: bool, dims: int) -> Prepared:
    """Make a recipe of public images, and vectors of others.

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
        private, tests = (
            Vectors(recipe.vectors(store.images(split)), store.labels(split)) for split in ("train", "test")
        )
    return Prepared(recipe, private, tests, (time.process_time() - began) / 60)


def several(
    given: Prepared,
    method: str,
    settings: str,
    epsilon: float,
    budget: Budget,
    targets: Floats,
    released: Callable[[int], Head],
) -> Row:
    """A row of releases under several noises.

    Args:
        budget: of each release, at that epsilon.
        targets: r of the test images, of which `membership.linkage` is.
        released: from the number of a noise to what is fitted to that release.
    """
    found = [given.accuracy(released(seed)) for seed in range(SEEDS)]
    z, labels = given.tests.z, given.tests.labels
    least = membership.linkage(z, targets, labels, budget, np.random.default_rng(0), LINKED)
    most = membership.linkage_at_most(labels, budget.mu)
    least = without_luck(least, min(LINKED, len(labels)), most)
    mean = float(np.mean(found))
    return Row(method, settings, epsilon, most, least, mean, given.minutes, min(found), max(found), given.public)


def statistics_rows(given: Prepared, epsilons: Sequence[float], moment: float) -> Iterator[Row]:
    """A row of `dp_statistics` for each epsilon, and one without noise, which nobody may release.

    Args:
        moment: fraction of the budget that second moments get, see `Budget`.
    """
    recipe, z = given.recipe, given.private.z
    exact = mechanism.exact_sums(z, recipe.targets(z, given.private.labels), moment=moment > 0)
    targets = recipe.targets(given.tests.z, given.tests.labels)
    settings = f"{moment:g} of the budget for second moments" if moment else ""
    for epsilon in epsilons:
        budget = Budget(mu_of(epsilon), moment)

        def released(seed: int, budget: Budget = budget) -> Head:
            stream = _stream(seed, budget)
            noise: Doubles = fine_normal(stream.shared(NOISE_BYTES * recipe.noise_count(budget)))[0]
            return recipe.head(mechanism.noisy(exact, budget, noise))

        yield several(given, "dp_statistics", settings, epsilon, budget, targets, released)
    yield Row("dp_statistics", "no noise", None, None, None, given.accuracy(recipe.head(exact)), public=given.public)


def mixtures_rows(given: Prepared, epsilons: Sequence[float], mixed: int, passes: int = 1) -> Iterator[Row]:
    """A row of `dp_mixtures` for each epsilon, and one without noise.

    Args:
        mixed, passes: see `privpipe.perturb.dp_mixtures`.
    """
    recipe, private = given.recipe, given.private
    mixing = Mixing(mixed, passes, recipe.classes, len(private.labels))
    settings = f"{mixing.total:,} rows of {mixed:,}"
    ones = np.ones((len(given.tests.z), 1), np.float32)
    for epsilon in epsilons:
        budget = Budget(mu_of(epsilon))

        def released(seed: int, budget: Budget = budget) -> Head:
            stream = _stream(seed, budget)
            drawn = below(stream.child("rows").shared(DRAW_BYTES * len(private.labels) * passes), mixing.of_class)
            noise: Doubles = fine_normal(stream.shared(NOISE_BYTES * mixing.total * recipe.dims))[0]
            rows = mixing.rows(private.labels, drawn.reshape(-1, passes))
            made = mixtures.release(private.z, rows, mixing, budget, noise)
            return heads.fit_class_sums(mixtures.class_sums(made, mixing), recipe.start)

        yield several(given, "dp_mixtures", settings, epsilon, budget, ones, released)
    unit = np.eye(recipe.classes)[private.labels]
    exact = Sums(unit.T @ private.z, None, len(unit))
    accuracy = given.accuracy(heads.fit_class_sums(exact, recipe.start))
    yield Row("dp_mixtures", "no noise", None, None, None, accuracy, public=given.public)


def _stream(seed: int, budget: Budget) -> KeyStream:
    return new_key(seed).stream.child("release_accuracy", f"{budget.mu!r}", f"{budget.moment!r}")


def all_rows(
    given: Prepared, epsilons: Sequence[float], moments: Sequence[float], mixed: Sequence[int]
) -> Iterator[Row]:
    """Those of both methods, and of the classifier of public images alone where these have labels."""
    for moment in moments:
        yield from statistics_rows(given, epsilons, moment)
    for count in mixed:
        yield from mixtures_rows(given, epsilons, count)
    start = given.recipe.start
    if start.labelled:
        yield Row("public images alone", "", None, None, None, given.accuracy(start.head), public=given.public)


def main(words: Sequence[str] | None = None) -> Iterator[str]:
    """What was computed, and the table."""
    parser = argparse.ArgumentParser(prog="python -m privpipe.scores.release_accuracy")
    parser.add_argument("images", help="raw images: data/private/images.h5")
    parser.add_argument("public", help="public images: data/public.h5")
    parser.add_argument("--epsilons", type=float, nargs="+", default=list(EPSILONS), help=f"at delta {DELTA:g}")
    parser.add_argument("--dims", type=int, default=512, help="numbers of a vector, at most")
    parser.add_argument("--moments", type=float, nargs="+", default=[0.0], help="fractions for second moments")
    parser.add_argument("--mixed", type=int, nargs="+", default=[500], help="images in a row of dp_mixtures")
    parser.add_argument("--without-labels", action="store_true", help="of public images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", help="file to write")
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    given = prepared(chosen.images, chosen.public, labels=not chosen.without_labels, dims=chosen.dims)
    yield (
        f"{len(given.private.labels):,} private images, {given.recipe.start.images:,} public ones, "
        f"{len(given.tests.labels):,} test images, d = {given.recipe.dims}"
    )
    rows = list(all_rows(given, chosen.epsilons, chosen.moments, chosen.mixed))
    if chosen.csv:
        write_csv(chosen.csv, COLUMNS, map(cells, rows))
    yield markdown(rows)


if __name__ == "__main__":
    for part in main():
        print(part, end="\n\n", flush=True)
