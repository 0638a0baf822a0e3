"""What a method says of itself, to attacks, scores, figures and the page. They ask it, and name no method.

A method sets and overrides what it knows. The defaults say that it does not know: by None where that can be, and else
by an error that names the method and the member that is missing.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from scipy.sparse import csr_array

from privpipe.errors import PrivpipeError
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.method import Method
from privpipe.perturb.settings import Settings
from privpipe.perturb.values import Array, Doubles, Floats, Images

if TYPE_CHECKING:  # torch is imported by what needs it, when it is called
    from torch import Tensor

# Why outputs are not counted.
ANY_OUTPUT = "can turn any image into any output, more or less likely: what it tells is bounded, not counted"
CONTINUUM = "draws its key from a continuum, and nobody has summed the probabilities of its rounded outputs"
NO_GROUP = (
    "has keys that do not form a group: {}, so that two images can have an output in common and yet not be equally "
    "likely to be its original"
)


class Knowledge(Method):
    """What is known of a method with its settings; `privpipe.perturb.base.Perturbation` adds what it does.

    Attributes:
        blocks: whether `k` is the size of blocks that are perturbed apart.
        exact, noisy: whether the output is uint8, and whether `sigma` counts.
        undone_by_key: whether there is `invert`, which gives the image back up to rounding.
        pairs_attack: the name of the attack that finds the key of all images from known pairs; None: none does here.
        operator_without_key: whether `operator` needs no key.
        identity: whether the output is the input.
        features: whether the output is numbers of each block, and no image: its shape is `output_shape`.
        alike: whether one key changes the values of every block in the same way.
        permutes_within_blocks: whether it permutes the pixels of each block, and no more: with `dataset_key`
            (blocks, k*k), pixel j of block b comes from its pixel dataset_key[b, j].
        keeps_block_means: whether no key changes the mean of a k×k block.
        kernel_is_key: whether it correlates all colours of an image with one k×k kernel, borders reflected, and its key
            is that kernel, (k, k).
        noise_is_key: whether its key is noise in grey levels, (..., C), added to what the rows of its `operator` give,
            in their order; every pixel shows one of these.
        falls_up_to: the largest k, at 32×32 pixels, up to which attacks without the key are known to succeed under
            `scope: dataset`; 0 where none is known. Measured by the survey (survey/results.csv) and the benchmarks.
        not_counted: why `orbit` has no answer, as what follows the method's name; None: it has one, or does not say.
        usual_sizes: values of k that example figures show.
    """

    image_size: int
    k: int
    scope: str
    sigma: float

    blocks: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    noisy: ClassVar[bool] = False
    undone_by_key: ClassVar[bool] = False
    pairs_attack: ClassVar[str | None] = "known_plaintext"  # which asks for `key_equations`
    operator_without_key: ClassVar[bool] = False
    identity: ClassVar[bool] = False
    features: ClassVar[bool] = False
    alike: ClassVar[bool] = False
    permutes_within_blocks: ClassVar[bool] = False
    keeps_block_means: ClassVar[bool] = False
    kernel_is_key: ClassVar[bool] = False
    noise_is_key: ClassVar[bool] = False
    not_counted: ClassVar[str | None] = None
    falls_up_to: ClassVar[int] = 0
    usual_sizes: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    @abstractmethod
    def legal_k(image_size: int) -> list[int] | None:
        """The values that `k` may have for images of `image_size` pixels; None where k has no meaning."""

    @abstractmethod
    def apply(self, images: Images) -> Array:
        """See `privpipe.perturb.base.Perturbation.apply`."""

    def output_shape(self, channels: int) -> tuple[int, int, int]:
        """(H, W, C) of what becomes of an image of so many colours; the image's own, but for `features`.

        H and W are equal and divide `image_size`.
        """
        return self.image_size, self.image_size, channels

    @classmethod
    def k_rule(cls, image_size: int) -> str:
        """What `legal_k` asks, as it goes on after "perturb.k must"."""
        return f"fit images of {image_size} pixels"

    @classmethod
    def setting_problems(cls, image_size: int, k: int, sigma: float, settings: Settings | None = None) -> list[str]:
        """Why these settings are impossible, a sentence each with the remedy; none where they are legal.

        Args:
            settings: those of `own_settings` that are set, by name.
        """
        problems = cls.own_problems(settings or {})
        legal = cls.legal_k(image_size)
        if legal is not None and k not in legal:
            problems.append(
                f"perturb.k must {cls.k_rule(image_size)} for perturb.method={cls.name}; got {k}. "
                f"Use one of {', '.join(map(str, legal))}."
            )
        if cls.noisy and sigma == 0:
            problems.append(
                f"perturb.sigma must be over 0 for perturb.method={cls.name}; got 0. Set a noise strength in levels "
                "of 0..255, for example perturb.sigma=25."
            )
        return problems

    # What is known of the image, given the key: restoration, level L3, known plaintext.

    def operator(self, key: Array | None) -> csr_array:
        """K of y = K x + noise, (Q, H*W), for each colour alike, in grey levels; row by row, x and y are images.

        Args:
            key: as `dataset_key`; None where `operator_without_key`.

        Raises:
            PrivpipeError: the method is not linear, or does not say so.
        """
        raise self._lacks("operator", "has no linear operator, so that its images cannot be estimated from it")

    def image_operator(self, key: Array | None) -> csr_array:
        """`operator` with one row for each pixel of the output, (H*W, H*W), where `observations` are fewer."""
        return self.operator(key)

    def axis_operator(self) -> Floats | None:
        """A of `image_operator` = A ⊗ A, float32 (H, H), where rows and columns are treated alike; else None."""
        return None

    def observations(self, values: Floats) -> Floats:
        """What the rows of `operator` give, (T, Q, C), from perturbed images in grey levels (T, H, W, C)."""
        return values.reshape(len(values), -1, values.shape[-1])

    def noise_covariance(self) -> Doubles | None:
        """Covariance (Q, Q) of the noise that is added to each colour, in squared grey levels; None without noise.

        Where `noise_is_key`, of whoever does not know the key."""
        return None

    def image_noise_covariance(self) -> Doubles | None:
        """`noise_covariance` with one row for each pixel of the output, (H*W, H*W), where `observations` are fewer."""
        return self.noise_covariance()

    def decoded(self, perturbed: Array, key: Array) -> tuple[Floats, Floats] | None:
        """What the rows of `operator` give as far as the key tells it; None: all that it tells is in `operator`.

        Args:
            perturbed: as stored, (T, H, W, C).
            key: as `dataset_key`, or as `image_keys` of these images.

        Returns:
            Values in grey levels, (T, H, W, C), and the standard deviation of the error of each pixel, (T, H, W).
        """
        return None

    # What is known of the key.

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        """The shape of `dataset_key` for images of so many colours; None for methods without a key.

        Raises:
            PrivpipeError: a keyed method does not say.
        """
        if self.keyed:
            raise self._lacks("key_form", "does not say what shape its key has")
        return None

    def key_equations(self) -> Equations:
        """What kind of equations its key solves, given known pairs.

        Raises:
            PrivpipeError: the method has none, or does not say.
        """
        raise self._lacks("key_equations", "does not say which equations its key solves, given known pairs")

    def key_error_noise(self, errors: Doubles, mean: Doubles, covariance: Doubles) -> Doubles | None:
        """Covariance (Q, Q) of what errors of a key found from linear equations add, in squared grey levels.

        None where it is not known.

        Args:
            errors: covariance of the errors of the weights, (systems, n, n), as `privpipe.perturb.equations.Linear`
                counts them.
            mean: of images, (H*W, C), in grey levels.
            covariance: of the pixels, summed over the colours, (H*W, H*W).
        """
        return None

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """How much of `truth` was found, both as `dataset_key` or as `image_keys`; see `privpipe.perturb.keys`.

        Raises:
            PrivpipeError: the method does not say how its keys compare.
        """
        raise self._lacks("key_similarity", "does not say how a found key compares with the true one")

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        """What a key drawn at random would score on average, for images of so many colours.

        Raises:
            PrivpipeError: the method does not say.
        """
        raise self._lacks("chance_key_similarity", "does not say what a random key would score")

    def keys_from_releases(self, other: "Self", first: Array, second: Array) -> tuple[Array, Array] | None:
        """What two releases of the same images give away of their keys, without knowing either.

        Args:
            other: the same method with another setting.
            first, second: the images as this one and as `other` released them, as stored, (N, H, W, C).

        Returns:
            Key material for each image, in the form of `image_keys`, of this one and of `other`; None: nothing known.
        """
        return None

    # What an image shows without its key.

    @property
    def told_together(self) -> int:
        """How many uploads of one key `log_likelihood` needs to make use of what they share; 0: each is told alone."""
        return 0

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """How likely each target was made of each candidate, the key integrated out: (T, G).

        Values compare within a row only. Without a key the output on the candidate is all there is to compare.

        Args:
            targets: perturbed images as stored, (T, H, W, C).
            gallery: candidates, uint8 (G, H, W, C).

        Raises:
            PrivpipeError: a keyed method does not say.
        """
        if self.keyed:
            raise self._lacks("log_likelihood", "does not say how likely an image is, given a candidate but no key")
        return -squared_distances(targets, self.apply(gallery))

    def orbit(self, images: Images) -> Array:
        """What the outputs of each image tell of it, whatever the key: rows (N, ...), for uint8 (N, H, W, C).

        Images with equal rows have equally distributed outputs, the key being drawn uniformly; images with different
        rows have no output in common. So an adversary without the key learns the row of an image, and nothing else.
        Under permutations it is the orbit of the image (hence the name), written as its smallest member, say.

        Raises:
            PrivpipeError: there is no such division of the images, or the method does not say it.
        """
        if reason := ANY_OUTPUT if self.noisy else self.not_counted:
            raise PrivpipeError(f"{self.name} {reason}.")
        if self.keyed:
            raise self._lacks("orbit", "does not say which images its keys turn into the same outputs")
        outputs: Array = self.apply(images)
        return outputs.reshape(len(images), -1)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """What a restoration network starts from: a first guess of the image, and the image itself, each (B, C, H, W).

        Args:
            images: perturbed, in grey levels, float32 (B, C, H, W).

        Returns:
            Both in network units (`privpipe.perturb.network_inputs`); gain and offset of the guess are fitted.
        """
        from privpipe.perturb.network_inputs import units

        image = units(images)
        return image, image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """What no key changes, (B, features, H/k, W/k), from the second of `network_inputs`; None: nothing known."""
        return None

    def epsilons(self, channels: int) -> tuple[float, float] | None:
        """What pure differential privacy an output has by its definition: epsilon of a change of one pixel in all its
        colours, and of any two images, where every image has noise of its own. None: none is known."""
        return None

    def block_variants(self, channels: int) -> Array | None:
        """Where whole blocks change places: the forms in which a block may come back, int32 (forms, n), n = k*k*C.

        Value j of form f is value v = out[f, j] of the block, or 255 less value v - n of it; values count the pixels
        row by row, and of each its colours. Entries of `dataset_key` (blocks,) are then source + blocks * form. None:
        blocks do not change places, or are changed in other ways.
        """
        return None

    def noise_row(self) -> Doubles | None:
        """Of Gaussian noise: the weights (an odd number) that smooth independent values along each axis, before they
        are scaled to `sigma` again; None without noise. It decides the formal guarantee."""
        return None

    def _lacks(self, member: str, what: str) -> PrivpipeError:
        return PrivpipeError(f"{self.name} {what}. Define {type(self).__name__}.{member} if there is one.")
