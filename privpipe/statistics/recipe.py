"""The release `dp_statistics`: what is public of it, what the owner computes, and what becomes of it.

    recipe  = prepare(public_images, public_labels, classes)            # anybody: public images alone
    sums    = recipe.release(images, labels, budget, noise)             # the owner: may be published
    head    = recipe.head(sums)                                         # the cloud
    classes = head.scores(recipe.vectors(images)).argmax(axis=1)        # the owner, at home

The noise is drawn by whoever calls, `recipe.noise_count(budget)` values N(0, 1), for one release only: from a stream of
the key (the guarantee then is computational, and holds as long as the key stays secret), or from the operating system.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from privpipe.statistics import heads, mechanism
from privpipe.statistics.features import FeatureMap, NetworkFeatures, PatchFeatures, Projection
from privpipe.statistics.heads import Head, Start
from privpipe.statistics.mechanism import Budget, Sums, clipped
from privpipe.statistics.values import Doubles, Floats, Images, Labels, batches

DIMS = 512
ROWS = 2000  # images at a time: features of one map are some thousand numbers each
TRAINED = 80  # percent of the public images, that a network is trained on
LEAST_TO_TRAIN = 1000  # public images, from which on a network is worth its time
KINDS: Mapping[str, type[PatchFeatures] | type[NetworkFeatures]] = {
    "patches": PatchFeatures,
    "network": NetworkFeatures,
}


@dataclass(frozen=True)
class Recipe:
    """All that a release needs besides the private images, made of public images alone.

    Args:
        maps: features, whose vectors are put one after another.
        projection: of these to d numbers.
        start: what public images tell of the classifier.
        classes: how many there are.
    """

    maps: tuple[FeatureMap, ...]
    projection: Projection
    start: Start
    classes: int

    def vectors(self, images: Images) -> Floats:
        """z of `mechanism`: uint8 (N, H, W, C) to float32 (N, d), of norm at most 1."""
        parts = [self.projection.of(features(self.maps, images[rows])) for rows in batches(len(images), ROWS)]
        return clipped(np.concatenate(parts)) if parts else np.empty((0, self.dims), np.float32)

    def targets(self, vectors: Floats, labels: Labels) -> Floats:
        """r of `mechanism`, float32 (N, classes), of norm at most 1."""
        return heads.targets(vectors, labels, self.classes, self.start)

    @property
    def dims(self) -> int:
        """d."""
        return int(self.projection.matrix.shape[1])

    def noise_count(self, budget: Budget) -> int:
        """How many values N(0, 1) a release needs."""
        return mechanism.noise_count(self.dims, self.classes, budget)

    def release(self, images: Images, labels: Labels, budget: Budget, noise: Doubles) -> Sums:
        """Noisy sums over private images; see `mechanism.release`."""
        vectors = self.vectors(images)
        return mechanism.release(vectors, self.targets(vectors, labels), budget, noise)

    def head(self, released: Sums) -> Head:
        """The classifier that a release gives, together with what was public before."""
        return heads.fit(released, self.start)

    def arrays(self) -> dict[str, Floats | Doubles]:
        """All that defines the recipe, by names; `from_arrays` makes it again."""
        names = {kind: name for name, kind in KINDS.items()}
        out: dict[str, Floats | Doubles] = {
            "projection.mean": self.projection.mean,
            "projection.matrix": self.projection.matrix,
            "start.weights": self.start.weights,
            "start.moment": self.start.moment,
            "start.numbers": np.array([self.start.labelled, self.start.images, self.start.bound]),
        }
        for position, one in enumerate(self.maps):
            kind = names[type(one)]  # type: ignore[index]  # a map of another kind is a KeyError with its name
            out |= {f"{position}.{kind}.{name}": array for name, array in one.arrays().items()}
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats | Doubles]) -> "Recipe":
        """What `arrays` gave."""
        grouped: dict[tuple[str, str], dict[str, Floats]] = {}
        for name, array in arrays.items():
            position, _, rest = name.partition(".")
            if position.isdigit():
                kind, _, key = rest.partition(".")
                grouped.setdefault((position, kind), {})[key] = np.asarray(array, np.float32)
        labelled, images, bound = arrays["start.numbers"].tolist()
        weights = np.asarray(arrays["start.weights"], np.float64)
        moment = np.asarray(arrays["start.moment"], np.float64)
        return cls(
            tuple(KINDS[kind].from_arrays(own) for (_, kind), own in sorted(grouped.items())),
            Projection(*(np.asarray(arrays[f"projection.{name}"], np.float32) for name in ("mean", "matrix"))),
            Start(weights, moment, int(labelled), int(images), bound),
            weights.shape[1],
        )


def features(maps: Sequence[FeatureMap], images: Images) -> Floats:
    """The vectors of all maps, one after another; float32 (N, F)."""
    return np.concatenate([one.of(images) for one in maps], axis=1)


def prepare(
    images: Images,
    labels: Labels | None,
    classes: int,
    dims: int = DIMS,
    maps: Sequence[FeatureMap] | None = None,
) -> Recipe:
    """A recipe made of public images.

    Args:
        images: uint8 (P, H, W, C).
        labels: int64 (P,); None: there are none, or they are not to be used.
        classes: how many there are.
        dims: d, at most.
        maps: features; None: see `usual_maps`.
    """
    chosen = usual_maps(images, labels, classes) if maps is None else tuple(maps)
    public = [np.concatenate([one.of(images[rows]) for rows in batches(len(images), ROWS)]) for one in chosen]
    return assembled(chosen, public, labels, classes, dims)


def usual_maps(images: Images, labels: Labels | None, classes: int) -> tuple[FeatureMap, ...]:
    """Random patches of public images, and, if their labels may be used and they are 1,000 at least, a network.

    The arguments are those of `prepare`.
    """
    patches = PatchFeatures.fit(images)
    if labels is None or len(images) < LEAST_TO_TRAIN:
        return (patches,)
    # What a network sees in the images that it was trained on is too good; some that it has not seen set that right.
    rows = np.random.default_rng(0).permutation(len(images))[: -(-len(images) * TRAINED // 100)]
    return patches, NetworkFeatures.fit(images[rows], labels[rows], classes)


def assembled(
    maps: Sequence[FeatureMap], public: Sequence[Floats], labels: Labels | None, classes: int, dims: int = DIMS
) -> Recipe:
    """`prepare` of features that have been computed: of each map, float32 (P, F). All maps weigh the same."""
    weights = np.concatenate([np.full(part.shape[1], part.shape[1] ** -0.5, np.float32) for part in public])
    together = np.concatenate(public, axis=1)
    projection = Projection.fit(together, dims, weights)
    start = heads.start(clipped(projection.of(together)), labels, classes)
    return Recipe(tuple(maps), projection, start, classes)
