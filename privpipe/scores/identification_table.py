"""The table of docs/results.md on whose image an upload is: every method, on the images of an experiment.

    python -m privpipe.scores.identification_table data/private/images.h5 --public data/public.h5

With `--public` it has the releases of whole sets as well, with features of patches of these images.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv
from privpipe.owner.key import new_key
from privpipe.perturb import PERTURBATIONS, RELEASES, Perturbation, SetRelease
from privpipe.perturb.base import Images
from privpipe.perturb.keystream import KeyStream
from privpipe.perturb.release import FeatureRelease, Labelled, NoisyRelease
from privpipe.scores.identification import Identified, Labels, identified
from privpipe.scores.scoring import load_candidates
from privpipe.scores.set_release import identified_of_set, statements
from privpipe.store import PUBLIC, open_store

CANDIDATES, TARGETS = 10_000, 1000
SIGMAS = (100.0, 200.0, 1000.0)
EPSILONS = (1.0, 3.0)  # of releases of whole sets
IN_A_RELEASE = 100  # images: what a release tells of the next one follows from its noise, not from how many are in it
COLUMNS = ("method", "k", "scope", "sigma", "epsilon", "exactly", "at_most", "at_least", "seconds")


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        method: with its settings.
        result: the three statements.
        seconds: of the processor.
    """

    method: Perturbation | SetRelease
    result: Identified
    seconds: float

    @property
    def values(self) -> tuple[float | None, ...]:
        """exactly, at_most, at_least: 0..1, or None."""
        result = self.result
        return None if result.exactly is None else result.exactly.identified, result.at_most, result.at_least

    def cells(self) -> list[str]:
        """As in a table for people."""
        method = self.method
        if isinstance(method, SetRelease):
            chosen = [f"epsilon={method.epsilon:g}"] if isinstance(method, NoisyRelease) else []
        else:
            chosen = [f"k={method.k}"] if method.legal_k(method.image_size) is not None else []
            chosen += [f"sigma={method.sigma:g}"] if method.noisy else []
        shown = ["" if value is None else f"{100 * value:.2f} %" for value in self.values]
        return [method.name, ", ".join(chosen), *shown]

    def record(self) -> list[str | float | None]:
        """The values of `COLUMNS`."""
        method = self.method
        own: list[str | float | None]
        if isinstance(method, SetRelease):
            own = [None, "dataset", None, method.epsilon if isinstance(method, NoisyRelease) else None]
        else:
            own = [method.k, method.scope, method.sigma, None]
        shown = [None if value is None else round(value, 5) for value in self.values]
        return [method.name, *own, *shown, round(self.seconds, 2)]


def settings(image_size: int, stream: KeyStream) -> list[Perturbation]:
    """Every method at its usual sizes, keyed ones with a fresh key for each image; noise at three strengths."""
    out = []
    for method in PERTURBATIONS.values():
        legal = method.legal_k(image_size)
        sizes = [1] if legal is None else [k for k in method.usual_sizes or legal[2:3] if k in legal]
        scope = "image" if method.keyed else "dataset"
        strengths = SIGMAS if method.noisy else (0.0,)
        out += [method(image_size, k, scope, sigma, stream) for k in sizes for sigma in strengths]
    return out


def settings_of(path: str, image_size: int, stream: KeyStream) -> list[Perturbation]:
    """Those of the rows of a CSV file with the columns method, k, scope, sigma, and settings that methods have of
    their own, each in a column of its name."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [_setting(row, image_size, stream) for row in csv.DictReader(file)]


def _setting(row: dict[str, str], image_size: int, stream: KeyStream) -> Perturbation:
    kind = PERTURBATIONS[row["method"]]
    own = {name: float(row[name]) for name in kind.own_settings() if row.get(name)}
    return kind(image_size, int(row["k"]), row["scope"], float(row["sigma"]), stream, **own)


def rows_of(
    methods: Iterable[Perturbation], candidates: Images, labels: Labels, targets: int = TARGETS
) -> Iterator[Row]:
    """The three statements on each method, for the first `targets` candidates as uploads.

    Args:
        candidates: uint8 (M, H, W, C).
        labels: int64 (M,).
    """
    for method in methods:
        began = time.process_time()
        result = identified(method, candidates, labels, method.apply(candidates[:targets]))
        yield Row(method, result, time.process_time() - began)


def _at_epsilons(kind: type[SetRelease], image_size: int) -> list[SetRelease]:
    """A release at `EPSILONS` where it has noise, else once."""
    if issubclass(kind, NoisyRelease):
        return [kind(image_size, epsilon=epsilon) for epsilon in EPSILONS]
    return [kind(image_size)]


def rows_of_releases(
    candidates: Images, labels: Labels, public: Images, stream: KeyStream, targets: int = TARGETS
) -> Iterator[Row]:
    """The same of every release of a whole set at `EPSILONS`, whose features are made of `public` without labels.

    Releases of feature vectors share the vectors; the seconds that these take are divided among their rows.

    Args:
        public: images of the same kind, uint8 (P, H, W, C).
        stream: of the noise of releases of another form.
    """
    classes = int(labels.max()) + 1
    releases = [release for kind in RELEASES.values() for release in _at_epsilons(kind, candidates.shape[1])]
    alike = [release for release in releases if isinstance(release, FeatureRelease)]
    began = time.process_time()
    recipe = alike[0].recipe(public, None, classes)
    vectors = recipe.vectors(candidates)
    shared = (time.process_time() - began) / len(alike)
    for release in releases:
        began = time.process_time()
        if isinstance(release, FeatureRelease):
            result = statements(release, labels, release.identified_by(recipe, vectors, labels, targets), targets)
            yield Row(release, result, shared + time.process_time() - began)
        else:
            own = stream.child(release.name, f"{getattr(release, 'epsilon', None)!r}")
            within = Labelled(candidates[-IN_A_RELEASE:], labels[-IN_A_RELEASE:])
            numbers = release.release(within, public, None, classes, own)
            result = identified_of_set(release, numbers, Labelled(candidates, labels), targets)
            yield Row(release, result, time.process_time() - began)


def markdown(rows: Iterable[Row]) -> str:
    """The table."""
    lines = ["| method | settings | exactly | at most | at least |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.cells())} |" for row in rows)])


def main(words: Sequence[str] | None = None) -> str:
    """The table for the file of raw images that is named, or what is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m privpipe.scores.identification_table")
    parser.add_argument("images", help="raw images: data/private/images.h5")
    parser.add_argument("--public", help="public images, for releases of whole sets: data/public.h5")
    parser.add_argument("--like", help="methods and settings of the rows of this CSV file: metrics/survey.csv")
    parser.add_argument("--csv", help="file to write")
    chosen = parser.parse_args(words)
    stream = new_key(0).stream
    try:
        candidates, labels = load_candidates(chosen.images, CANDIDATES)
        size = candidates.shape[1]
        methods = settings_of(chosen.like, size, stream) if chosen.like else settings(size, stream)
        rows = list(rows_of(methods, candidates, labels))
        if chosen.public:
            with open_store(chosen.public, PUBLIC) as store:
                rows += rows_of_releases(candidates, labels, store.images("train"), stream)
        if chosen.csv:
            write_csv(chosen.csv, COLUMNS, (row.record() for row in rows))
    except PrivpipeError as error:
        return str(error)
    minutes = sum(row.seconds for row in rows) / 60
    return f"{len(candidates):,} candidates; {minutes:.1f} minutes of CPU\n\n{markdown(rows)}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
