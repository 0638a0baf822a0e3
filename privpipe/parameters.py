"""Every parameter of an experiment: its name, type, legal values and meaning, in one place.

What they must be together, and the words for what is refused, are in `privpipe.params`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from privpipe.networks.registry import architectures
from privpipe.perturb import METHODS
from privpipe.reading import AUTO, Reading

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
TorchSeed = Annotated[int, Field(ge=0, lt=2**32)]  # its generator on a CPU takes no more bits
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _network_name(given: Any) -> Any:
    """`given`, where it is a registered name."""
    legal = architectures()
    if given not in legal:
        raise PydanticCustomError("unknown_network", "no network", {"legal": legal})
    return given


class Group(BaseModel):
    """A group of parameters: no unknown names, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Group):
    """Where the images come from and how they are split.

    DVC does not look into `path`, nor into a folder named by `public`: after a change of the images in them, run
    `dvc repro --force download`. Queued experiments run in a folder of their own: give absolute paths. The stage
    puts in ~ and environment variables ($NAME), so that the path itself need not be committed.
    """

    source: Literal["cifar10", "synthetic", "folder"] = Field(
        description="cifar10, the embedded set that the code draws, or a folder of images"
    )
    archive: str | None = Field(description="path or URL of a CIFAR-10 archive; null: the official URL")
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = Field(description="checksum of the archive")
    path: str | None = Field(
        description="folder source: a folder with one sub-folder per class, or with train/, val/ and test/ above these"
    )
    on_error: Literal["stop", "skip"] = Field(description="folder source: what to do about unreadable images")
    channels: str | int | list[str | int] = Field(
        default=AUTO,
        description="auto (colour as seen; other channels are refused), composite (channels in their colours), or 1 to "
        "4 channels by number or name",
    )
    stack: Literal["refuse", "first", "max"] = Field(
        default="refuse", description="of several planes or frames: refuse, the first, or the greatest values"
    )
    range: Literal["declared", "type", "set", "image"] = Field(
        default="declared",
        description="black and white: as files declare, as their type has, or percentiles of the training set or of "
        "each image",
    )
    saturated: Annotated[float, Field(ge=0, lt=50)] = Field(
        default=0.1, description="range set and image: percent of values that become black, and as many white"
    )
    groups: str | None = Field(
        default=None,
        description="folder source: images that must not be parted: folders (those below each class), or a CSV file "
        "with the columns file, class and group",
    )
    on_duplicates: Literal["warn", "stop", "drop", "ignore"] = Field(
        default="warn", description="folder source: identical and nearly identical images across sets or classes"
    )
    image_size: Annotated[int, Field(ge=8, le=512)] = Field(description="height and width in pixels")
    n_train: Count | None = Field(description="training images, class-balanced; null: all")
    n_val: Count = Field(description="validation images, class-balanced, taken from the training part")
    n_test: Count | None = Field(
        description="test images, class-balanced; null: all (of a folder without test/: 20 % of each class)"
    )
    public: float | str = Field(
        description="the adversary's public images: a fraction (0..0.5) of the training part, or a folder of others"
    )
    split_seed: Seed = Field(description="draws the split, and the images of the synthetic source")

    @property
    def public_fraction(self) -> float:
        """The fraction of the training part that is set aside; 0 where the public images come from a folder."""
        return 0.0 if isinstance(self.public, str) else self.public

    @property
    def reading(self) -> Reading:
        """How image files become arrays; without the limits that are measured over a set."""
        named = self.channels if isinstance(self.channels, list) else [self.channels]
        channels = tuple(str(channel) for channel in named)
        if self.range in ("set", "image"):
            return Reading(channels, self.stack, self.range, self.saturated)
        return Reading(channels, self.stack, self.range)


class Key(Group):
    """The owner's secret."""

    seed: Seed | None = Field(description="a reproducible research key; null: from the operating system")
    budget: Positive | None = Field(
        default=None,
        description="releases of a whole set: the epsilon that all releases under the key may come to; null: no limit",
    )


class Perturb(Group):
    """What is done to the images before they leave.

    Settings that methods have of their own (`privpipe.perturb.settings`) stand beside these, such as
    `perturb.fraction`; those of other methods than `method` are ignored, as `sigma` is without noise.
    """

    model_config = ConfigDict(extra="allow")

    method: str = Field(description="one of privpipe.perturb.METHODS")
    k: Count = Field(description="filter size (odd) or block size (divides data.image_size)")
    scope: Literal["dataset", "image"] = Field(description="one key for all images, or a fresh one for each")
    sigma: NonNegative = Field(description="noise strength in pixel levels of 0..255")
    epsilon: Positive | None = Field(
        default=None, description="of methods with a formal guarantee: how much they tell; null: the method's default"
    )

    @property
    def own(self) -> dict[str, Any]:
        """What is set of the settings that `method` has of its own, by name."""
        given = {**(self.model_extra or {}), **({} if self.epsilon is None else {"epsilon": self.epsilon})}
        return {name: given[name] for name in METHODS[self.method].own_settings() if name in given}


class Model(Group):
    """The classifier."""

    arch: Annotated[str, BeforeValidator(_network_name)] = Field(description="a network, see privpipe/networks")
    descrambler: Literal["learned", "learned_smooth", "inferred"] = Field(
        description="what the descrambler's BFC layer knows before training, see privpipe/attacks/descrambler_init.py"
    )
    penalty: Literal["l1", "l2"] = Field(description="the penalty on the descrambler's BFC layer")


class Train(Group):
    """How the classifier is trained."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(description="passes over the training images")
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(description="images per step")
    recipe: Literal["paper", "modern"] = Field(
        description="optimiser, schedule, loss and layers, see privpipe/nn/training.py and privpipe/networks"
    )
    lr: Positive = Field(description="learning rate: at the start (paper), at its peak (modern)")
    lr_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="paper: what the learning rate is multiplied by after each epoch"
    )
    reg: NonNegative = Field(description="weight of the penalties")
    seed: TorchSeed = Field(description="draws the initial weights and the order of the images")
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: cuda where there is one")
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(description="CPU threads; results on a CPU depend on it")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="of products; auto: bfloat16 where the processor is faster with it"
    )
    memory_mb: Count | None = Field(
        description="megabytes of training images held at once, others are streamed; null: half of the memory"
    )


class Attack(Group):
    """How the perturbed images are attacked, to measure what they hide."""

    targets: Count = Field(description="test images to reconstruct, at most; re-identification is among these")
    candidates: Count = Field(
        description="images among which an upload is to be told, the right one among them, at most"
    )
    stolen: Count | None = Field(description="perturbed training images that the adversary learns from; null: all")
    pairs: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        description="known pairs of level L2, at most; also measured with 1, 10, 100, ... of them"
    )
    network_epochs: Annotated[int, Field(ge=0, le=10_000)] = Field(
        description="passes of the restoration network over the public images; 0: no network"
    )
    reference_epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="training of the plain classifier that looks at the reconstructions"
    )
    seed: TorchSeed = Field(description="draws the adversary's own keys and weights")
