"""Releases of a whole set: numbers that all images of a set make together, with noise, in place of the images.

A method of this kind is a pure function of the owner's images with their labels, public images and a source of
randomness. What it gives is not one image for each image: nothing in it is restored, linked or drawn as an image. The
cloud fits a model to it, and queries stay at home: the model takes images as they are.

Those with noise (`NoisyRelease`) are (epsilon, delta)-differentially private for adding or removing what one image
contributes (Dwork and Roth, "The algorithmic foundations of differential privacy", 2014): whatever is in the release,
it would have been about as likely without any one of the images. All are Gaussian mechanisms, whose cost is one number,
mu = sensitivity / standard deviation of the noise; the squares of those of several releases add up
(`privpipe.statistics.accounting`). Others promise nothing, and say so.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from privpipe.errors import PrivpipeError
from privpipe.perturb.keystream import FINE_DENSE, KeyStream
from privpipe.perturb.method import Drawing, Method
from privpipe.perturb.settings import Settings, setting
from privpipe.perturb.values import Floats, Images
from privpipe.statistics.accounting import mu_of

if TYPE_CHECKING:
    from privpipe.statistics.recipe import Recipe

Labels = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
LEAST_PUBLIC = 20  # images: fewer have hardly a covariance
NOISE_BYTES = 8  # of one value


@dataclass(frozen=True)
class Labelled:
    """Images with their classes.

    Args:
        images: uint8 (N, H, W, C).
        labels: int64 (N,).
    """

    images: Images
    labels: Labels


@dataclass(frozen=True)
class SetRelease(Method):
    """One release of a whole set with its settings.

    Args:
        image_size: height and width of the images in pixels.

    Attributes:
        form: of what is released, by which `privpipe.nn.release_job` knows how to fit a model to it.
        trained: whether a network is trained on it, which is then `model.arch`; else it is fitted to in one step.
        forgets: whether its randomness must be forgotten once the release is made.
        shows_public: whether what is released tells of the public images without noise.
        not_exactly, not_at_most: in words, why there is no such number on whose image is in it.
        adds_up: in words, what a second release of the same images tells.
        advice: what to make of it, a sentence or two.
    """

    image_size: int

    form: ClassVar[str]
    trained: ClassVar[bool] = False
    forgets: ClassVar[bool] = True
    shows_public: ClassVar[bool] = False
    not_exactly: ClassVar[str]
    not_at_most: ClassVar[str] = ""
    adds_up: ClassVar[str]
    advice: ClassVar[str]

    @abstractmethod
    def release(
        self, private: Labelled, public: Images, public_labels: Labels | None, classes: int, stream: KeyStream
    ) -> Arrays:
        """The numbers that are released, by names that `form` stands for.

        Args:
            private: the images that the guarantee is about.
            public: images of the same kind that everybody may see, uint8 (M, H, W, C); they cost nothing.
            public_labels: their classes, int64 (M,); None where they are not known.
            classes: how many there are; labels are 0 .. classes - 1.
            stream: of all that is random, and never used for anything else: a second release under the same bytes would
                give away the difference of both sets.

        Raises:
            PrivpipeError: there are too few images; the message says how many would do.
        """

    @abstractmethod
    def identified(self, released: Arrays, candidates: Labelled, targets: int) -> float:
        """How often our adversary names an image of a set among the candidates of its class.

        Of a release with noise he holds all other images of the set.

        Args:
            released: a release, of which what is random is not used.
            candidates: images of the same kind; they need be in no release.
            targets: the first so many of them are each the unknown one once.

        Returns:
            0..1; the mean over the targets.
        """

    def members(self, count: int, public: int, stream: KeyStream) -> NDArray[np.int32] | None:
        """Which private images each row of the release holds, (rows, images of a row), in any order; None where rows
        hold no images.

        Args:
            count, public: of private and public images.
            stream: of `release`.
        """
        return None

    @property
    def mu(self) -> float | None:
        """How far the releases with and without an image lie apart, in standard deviations of the noise, at most; None
        where nothing bounds it."""
        return None

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """What holds against every adversary, in words."""

    @classmethod
    def setting_problems(cls, scope: str, sigma: float, settings: Settings) -> list[str]:
        """Why these settings are impossible, a sentence each with the remedy; none where they are legal.

        Args:
            settings: those of `own_settings` that are set, by name.
        """
        problems = cls.own_problems(settings)
        if scope != "dataset":
            problems.append(
                f"perturb.scope must be dataset for perturb.method={cls.name}, which releases one thing for the whole "
                f"set; got {scope}. Set perturb.scope=dataset."
            )
        if sigma:
            problems.append(
                f"perturb.sigma must be 0 for perturb.method={cls.name}, {cls.instead_of_sigma()}; got {sigma:g}. Set "
                "perturb.sigma=0."
            )
        return problems

    @classmethod
    def instead_of_sigma(cls) -> str:
        """Why `perturb.sigma` says nothing, a clause after the method's name."""
        return "which adds no noise"

    @classmethod
    def needs_public(cls, settings: Settings) -> bool:
        """Whether nothing can be released under these settings without public images."""
        return False


@dataclass(frozen=True)
class NoisyRelease(SetRelease):
    """A release with Gaussian noise.

    Args:
        epsilon, delta: of the guarantee for adding or removing what one image contributes.
    """

    epsilon: float = setting(1.0, "bounds what a release tells of one image", above=0, most=1e9)
    delta: float = setting(1e-5, "how likely the bound may fail to hold", above=0, most=0.5)

    not_exactly = (
        "the noise can turn any set into any release, more or less likely: what it tells is bounded, not counted"
    )
    adds_up = "releases of a whole set add up: the owner's ledger counts them"
    advice = (
        "No image leaves, and the bound holds against every adversary: choose epsilon by what it allows. Another "
        "release of the same images adds to it."
    )

    @property
    def mu(self) -> float:
        return mu_of(self.epsilon, self.delta)

    @classmethod
    def instead_of_sigma(cls) -> str:
        return "whose noise follows from perturb.epsilon"

    @property
    def guarantee(self) -> str:
        return (
            f"({self.epsilon:g}, {self.delta:g})-differentially private for what one image adds, or would have added "
            f"(mu = {self.mu:.4g}; replacing one image by another counts twice). How many images there are is "
            "published. Another release of the same images adds up. The noise is a pseudo-random stream, so the "
            "guarantee is computational; that its numbers are rounded and end adds less than "
            f"{max(1e-9, float(ndtr(self.mu - FINE_DENSE))):.2g} to delta."
        )


class FeatureRelease(NoisyRelease):
    """A release of sums of feature vectors with noise; public images make the map from images to vectors.

    That map is the same for all methods of this kind and all their settings, so that several of them can share it.

    Attributes:
        drawn: what leaves, in a few words.
    """

    drawn: ClassVar[str]
    shows_public = True

    @classmethod
    def needs_public(cls, settings: Settings) -> bool:
        return True

    def release(
        self, private: Labelled, public: Images, public_labels: Labels | None, classes: int, stream: KeyStream
    ) -> Arrays:
        return self.summed(self.recipe(public, public_labels, classes), private, stream)

    @classmethod
    def recipe(cls, public: Images, public_labels: Labels | None, classes: int) -> "Recipe":
        """What public images make; the arguments and the error are those of `release`."""
        # torch, which programs that release nothing do without, comes with the features.
        from privpipe.statistics.recipe import prepare

        if len(public) < LEAST_PUBLIC:
            raise PrivpipeError(
                f"{cls.name} makes its features of public images, at least {LEAST_PUBLIC}; got {len(public)}. Raise "
                "data.public."
            )
        return prepare(public, public_labels, classes)

    @abstractmethod
    def summed(self, recipe: "Recipe", private: Labelled, stream: KeyStream) -> Arrays:
        """`release` with what public images make."""

    def identified(self, released: Arrays, candidates: Labelled, targets: int) -> float:
        from privpipe.statistics.recipe import Recipe

        recipe = Recipe.from_arrays(released)
        return self.identified_by(recipe, recipe.vectors(candidates.images), candidates.labels, targets)

    @abstractmethod
    def identified_by(self, recipe: "Recipe", vectors: Floats, labels: Labels, targets: int) -> float:
        """`identified` with what public images make.

        Args:
            vectors: z of the candidates (`Recipe.vectors`), float32 (M, d).
            labels: their classes, int64 (M,).
            targets: the first so many candidates are each the unknown one once.
        """

    def drawing(self) -> Drawing:
        return Drawing(f"{self.name}: {self.drawn}\nepsilon = {self.epsilon:g}, mu = {self.mu:.3g}")
