"""The suite that methods are compared by, `privpipe-attacks`, with a fixed budget that is printed with every result.

A version is a list of attacks and what they may spend. A stronger attack makes the next version; results keep the
version that they were measured with, so that two rows of one version were attacked alike. `SUITES` keeps them all, the
newest last.

A size is a budget: how many images each side has, and how long networks are trained. All of it is a number of images or
steps, so that the same attacks are done on every machine; the seconds say what that takes on the machine that is named.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

NAME = "privpipe-attacks"
MACHINE = "2 cores of an Intel Xeon with AMX at 2.0 GHz, no GPU"


@dataclass(frozen=True)
class Size:
    """What owner, cloud and adversary have, and spend.

    Args:
        train, val, test: images of the owner. The cloud trains on the first, and the adversary learns from their
            uploads; accuracy is measured on the last.
        public: images of the same kind that the adversary has.
        targets: uploads of test images that are to be reconstructed.
        candidates: images among which an upload is to be told.
        pairs: known pairs of level L2.
        network_epochs: passes of the restoration network over the public images.
        reference_epochs: of the classifier of plain images that looks at reconstructions.
        epochs: of the cloud's training.
        keys, seeds: how many keys are drawn, and classifiers trained for each. The attacks run once for each key.
        minutes: what one method takes, about, on `MACHINE`.
    """

    train: int
    val: int
    test: int
    public: int
    targets: int
    candidates: int
    pairs: int
    network_epochs: int
    reference_epochs: int
    epochs: int
    keys: int
    seeds: int
    minutes: int

    @property
    def network_steps(self) -> int:
        """See `network_steps`."""
        return network_steps(self.public, self.network_epochs)


def network_steps(public: int, epochs: int) -> int:
    """Steps of the restoration network on so many public images at level L1, and as many again at L2."""
    held_out = max(1, min(500, round(0.1 * public)))  # as `privpipe.attacks.network` does, which a test compares
    return epochs * math.ceil((public - held_out) / 64)


@dataclass(frozen=True)
class Suite:
    """A version of the suite.

    Args:
        version: from 1 on.
        attacks: their names. Each runs at every level that it makes use of, where it applies to the method.
        sizes: by name, the smallest first.
    """

    version: int
    attacks: frozenset[str]
    sizes: dict[str, Size]

    @property
    def title(self) -> str:
        """Such as "privpipe-attacks v1"."""
        return f"{NAME} v{self.version}"

    def with_others(self, names: Iterable[str]) -> str:
        """The title of a run with attacks beside those of the suite; it is none of the suite's."""
        return " + ".join([self.title, *sorted(set(names) - self.attacks)])


V1 = Suite(
    version=1,
    attacks=frozenset(
        {
            "as_is",
            "block_means",
            "cross_block",
            "filter_likelihood",
            "gradient_inversion",
            "jigsaw",
            "known_plaintext",
            "patch_matching",
            "pixel_correlation",
            "restoration_network",
            "row_products",
            "shared_field",
            "wiener",
        }
    ),
    sizes={
        "smoke": Size(2000, 200, 500, 1000, 200, 1000, 100, 10, 5, 3, keys=1, seeds=1, minutes=5),
        "standard": Size(10_000, 1000, 2000, 5000, 1000, 10_000, 1000, 5, 5, 5, keys=3, seeds=3, minutes=60),
        # All of CIFAR-10 but the validation and the public images.
        "full": Size(44_000, 1000, 10_000, 5000, 1000, 10_000, 1000, 20, 5, 10, keys=3, seeds=3, minutes=360),
    },
)
# Random filters with a key for each image: the kernel of each single image is searched for.
V2 = Suite(version=2, attacks=V1.attacks | {"blind_deconvolution"}, sizes=dict(V1.sizes))
# Schemes of one key for all images that changes values of blocks, or of pixels: it shows in how values go together.
V3 = Suite(version=3, attacks=V2.attacks | {"colour_correlation", "value_correlation"}, sizes=dict(V2.sizes))
SUITES = (V1, V2, V3)
NEWEST = SUITES[-1]
