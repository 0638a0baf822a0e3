"""What an adversary holds, what an attack is, and what comes of it.

An attack is one class in one file of this folder, or in another package that names it as an entry point
`privpipe.attacks`; `privpipe/attacks/registry.py` finds them. The method and its settings are public, only the key is
secret (Kerckhoffs's principle), so every attack knows them, may ask the method what is known of it, and may run it with
keys of its own.

Levels of knowledge, each including those before it:

- L0: the stolen perturbed images, the method and its settings;
- L1: and public images of the same kind, disjoint from the owner's;
- L2: and m known pairs of an original and its perturbed image.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from numpy.typing import NDArray

from privpipe.attacks.linkage import image_similarity
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.values import Doubles, Floats

LEVELS = ("L0", "L1", "L2")
UNFIT = "takes images"  # how a refusal ends that is no sign of a weak attack


@dataclass(frozen=True)
class Pairs:
    """Known pairs: row i of `perturbed` is what became of row i of `originals`.

    Args:
        originals: uint8 (m, H, W, C).
        perturbed: as stored, uint8 or float16 (m, H, W, C).
    """

    originals: Images
    perturbed: Array


@dataclass(frozen=True)
class AdversaryView:
    """What the adversary holds.

    Args:
        method, k, scope, sigma, settings: the transformation, as `privpipe.parameters.Perturb` describes it.
        stolen: perturbed images to learn from, as stored: uint8, or float16 in units where white is 1; (N, H, W, C),
            square.
        targets: other perturbed images, whose originals are wanted, of the same shape and type; (T, H, W, C).
        public: unperturbed images of other images, uint8 (M, H, W, C); None at level L0.
        pairs: known pairs; None below level L2.
        image_shape: (H, W, C) of the images, where uploads are features of another shape; else None.
        kept: what attacks keep of the images for their next run, by names of their own. `replace` hands it on, to other
            levels and to fewer stolen images.
    """

    method: str
    k: int
    scope: str
    sigma: float
    stolen: Array
    targets: Array
    public: Images | None = None
    pairs: Pairs | None = None
    settings: dict[str, float] = field(default_factory=dict)
    image_shape: tuple[int, int, int] | None = None
    kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def image_size(self) -> int:
        return int(self.stolen.shape[1]) if self.image_shape is None else self.image_shape[0]

    @property
    def channels(self) -> int:
        return int(self.stolen.shape[3]) if self.image_shape is None else self.image_shape[2]

    @cached_property
    def transformation(self) -> Perturbation:
        """The transformation without a key: what is public of it."""
        return self._transformation(None)

    def perturbation(self, seed: int, purpose: str = "") -> Perturbation:
        """The transformation with a key of the adversary's own.

        Args:
            seed, purpose: another of either is another key, so that the same image comes out otherwise.
        """
        secret = hashlib.sha256(f"an adversary's own key, {seed}".encode()).digest()
        stream = KeyStream(secret, (purpose,))
        return self._transformation(stream)

    def _transformation(self, stream: KeyStream | None) -> Perturbation:
        kind = PERTURBATIONS[self.method]
        return kind(self.image_size, self.k, self.scope, self.sigma, stream, **self.settings)


@dataclass(frozen=True)
class Outcome:
    """What an attack believes.

    Args:
        images: reconstructions of the targets, float32 (T, H, W, C) in grey levels of 0..255, not rounded; None where
            the attack has nothing to show.
        confidence: 0..1, how far the attack itself believes its answer: near 0 where it found nothing, also under a
            wrong hypothesis about the data. None where it has no means to tell.
        key: the key material that it found, in the form of `Perturbation.dataset_key`; None where it seeks none.
    """

    images: Floats | None
    confidence: float | None = None
    key: NDArray[Any] | None = None


@dataclass(frozen=True)
class Budget:
    """What an adversary can spend.

    Args:
        network_epochs: passes of networks over the public images; 0: no networks.
        seed: of the adversary's own keys, starting points and weights.
        threads, device, precision: for networks, see `privpipe.parameters.Train`.
    """

    network_epochs: int = 0
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    precision: str = "float32"


class Attack(ABC):
    """One way to get images or keys back.

    Attributes:
        name: in tables and files, lower case with underscores.
        levels: those at which it makes another use of what is known; a level that is not named here gains nothing
            over the one before it.
        seeks_key: whether its attempts hold a key, so that the number of images or pairs that it needs is worth
            measuring.
        takes_features: whether it makes use of uploads that are features and no images (`Perturbation.features`).
        costly: whether it is run only where no other attack is sure of its answer, and with the largest number of known
            pairs only.
        order: attacks are tried by rising order, of equal ones by name, the costly ones last.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    seeks_key: ClassVar[bool] = False
    takes_features: ClassVar[bool] = False
    costly: ClassVar[bool] = False
    order: ClassVar[int] = 50

    @classmethod
    def within(cls, budget: Budget) -> "Attack | None":
        """The attack as far as `budget` goes; None where it does not suffice."""
        return cls()

    @abstractmethod
    def applies(self, method: Perturbation) -> bool:
        """Whether there is a point in trying it on this transformation, which comes without a key.

        An attack that holds for many methods asks what the method says of itself, so that new methods are attacked.
        """

    def refusal(self, method: Perturbation) -> str | None:
        """Why there is no point in it, though it `applies` to what the method says of itself; None where there is."""
        if not method.features or self.takes_features:
            return None
        return f"uploads of {method.name} are features and no images; {self.name} {UNFIT}"

    def similarity(self, view: AdversaryView, images: Floats, candidates: Images) -> Floats | Doubles:
        """How likely each target is of each candidate, (T, G); only rows compare.

        Args:
            images: what it made of the targets of `view`, float32 (T, H, W, C).
            candidates: uint8 (G, H, W, C).
        """
        return image_similarity(images, candidates)

    def learns_from_pairs(self, view: AdversaryView) -> bool:
        """Whether known pairs of this transformation tell it what public images do not."""
        return True

    @abstractmethod
    def run(self, view: AdversaryView) -> Outcome:
        """Attack. What `view` holds besides the stolen images sets the level.

        Raises:
            PrivpipeError: there are too few images or they are too large; the message says what would do.
        """
