"""The record of an evaluation: one JSON file that says what was measured of a method, and how, by the standard suite.

An entry of the leaderboard is such a file. It is checked when it is read: every field by name, type and range, and all
of them together by a digest, so that a number that was typed in is noticed. The digest is no signature: whoever wants
to know runs the entry again.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from privpipe.errors import PrivpipeError
from privpipe.files import write_text

FORMAT, FORMAT_VERSION = "privpipe-evaluation", 1
SHOWABLE = ("cifar10", "synthetic")  # sources of images that anybody may see

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=4000)]


class Part(BaseModel):
    """A part of a record: no unknown names, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Scheme(Part):
    """What was evaluated."""

    name: Text = Field(description="of the method, as perturb.method")
    package: Text = Field(description="that the method comes from, with its version")
    k: Count = Field(description="filter or block size")
    scope: Literal["dataset", "image"] = Field(description="one key for all images, or one for each")
    sigma: Annotated[float, Field(ge=0)] = Field(description="strength of noise in levels of 0..255")
    settings: dict[str, float] = Field(default_factory=dict, description="that the method has of its own, by name")
    network: Text = Field(description="that the cloud trained, as model.arch")
    recipe: Text = Field(description="how it was trained, as train.recipe")

    @property
    def title(self) -> str:
        """Name and settings, such as "block_scramble k=4 dataset, baseline"."""
        more = {"sigma": self.sigma, **self.settings} if self.sigma else self.settings
        said = "".join(f" {name}={value:g}" for name, value in more.items())
        return f"{self.name} k={self.k}{said} {self.scope}, {self.network}"


class SuiteUsed(Part):
    """What it was attacked with."""

    title: Text = Field(
        description="such as privpipe-attacks v1; with the names of further attacks, where there were any"
    )
    size: Text = Field(description="of the suite's sizes, or custom")
    attacks: list[Text] = Field(description="that were run, or refused")


class Budget(Part):
    """What owner, cloud and adversary had, and what it took."""

    train: Count = Field(description="uploads that the cloud trained on, and the adversary learned from")
    test: Count = Field(description="uploads that accuracy was measured on")
    public: Count = Field(description="public images")
    targets: Count = Field(description="uploads that were attacked")
    candidates: Count = Field(description="images among which an upload is told")
    pairs: Count = Field(description="known pairs at level L2")
    network_steps: Count = Field(description="of the restoration network, at each level")
    epochs: Count = Field(description="of the cloud's training")
    seconds: Seconds = Field(description="that the attacks took, for one key, on the machine below")


class ImagesUsed(Part):
    """What it was measured on."""

    source: Text = Field(description="as data.source")
    digest: Digest = Field(description="SHA-256 of the file of the owner's images")
    public_digest: Digest = Field(description="the same of the public images")


class Machine(Part):
    """What it was measured with."""

    processor: Text = Field(description="model and number of processors")
    device: Text = Field(description="that the classifier was trained on, and threads")
    versions: dict[str, Text] = Field(description="of Python and packages")


class Interval(Part):
    """A number over several runs.

    `low` and `high`: of an accuracy, a 95 % interval: Wilson's for one run, else Student's t over the keys, or over the
    training seeds where there is one key or keys change nothing; of all else, the least and the greatest of the runs.
    """

    mean: float
    low: float
    high: float
    runs: Annotated[int, Field(ge=1)]


class Identified(Part):
    """How often an upload is told among the candidates: three kinds of statement, None where one has no number."""

    prior: Fraction = Field(description="by the class alone")
    exactly: Fraction | None = Field(description="a theorem about the method, counted over its keys")
    at_most: Fraction | None = Field(description="a theorem about noise")
    at_least: Fraction | None = Field(description="what our adversary reached, the best of the keys")
    why: dict[str, Text] = Field(description="why a kind has no number")


class Cost(Part):
    """What the method costs those who use it, without the attacks; means over keys and seeds."""

    owner_seconds: Seconds = Field(description="to perturb all images")
    cloud_seconds: Seconds = Field(description="to train")
    bytes: Count = Field(description="uploaded")


class Figure(Part):
    """The first targets, one row below the other."""

    rows: list[Text] = Field(description="what each row shows: originals, uploads, and what the attacks made of them")
    png: str = Field(description="all rows in one PNG, in base64")


class Entry(Part):
    """A record.

    The names of `privacy` are those of `metrics/privacy.json`, each over the keys; names of attacks and the reasons for
    missing numbers are left out there, and `attempts` has every attack.
    """

    format: Literal["privpipe-evaluation"] = "privpipe-evaluation"
    format_version: Literal[1] = 1
    scheme: Scheme
    suite: SuiteUsed
    budget: Budget
    images: ImagesUsed
    machine: Machine
    code: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] = Field(
        description="the first digits of the digest of the code that decided the numbers, without comments"
    )
    keys: list[Count] = Field(min_length=1, description="seeds of the research keys")
    seeds: list[Count] = Field(min_length=1, description="of the training")
    accuracy: Interval = Field(description="on the test uploads")
    identified: Identified
    privacy: dict[str, Interval]
    attempts: list[dict[str, Any]] = Field(description="every attack for every key, with its scores")
    problems: list[Text] = Field(description="what was not run or not measured, and why")
    flags: list[Text] = Field(description="signs that the attacks may be weaker than they could be")
    cost: Cost
    figure: Figure | None

    @property
    def title(self) -> str:
        """That of the scheme."""
        return self.scheme.title


def digest_of(content: dict[str, Any]) -> str:
    """The SHA-256 of a record without its digest."""
    text = json.dumps({name: value for name, value in content.items() if name != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save_entry(path: str | Path, entry: Entry) -> None:
    """Write a record with its digest, atomically."""
    content = entry.model_dump(mode="json")
    write_text(path, json.dumps({**content, "digest": digest_of(content)}, indent=1) + "\n")


def load_entry(path: str | Path) -> Entry:
    """Read a record and check it.

    Raises:
        PrivpipeError: the file is missing, no record of this version, or was changed after it was written.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        digest = content.pop("digest", None)
        version = content.get("format"), content.get("format_version")
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror}. Make it with `privpipe evaluate`.") from error
    except (ValueError, RecursionError) as error:
        raise PrivpipeError(f"{path} is no record: {error}. Make one with `privpipe evaluate`.") from error
    if version != (FORMAT, FORMAT_VERSION):
        raise PrivpipeError(
            f"{path} is of the format {version[0]!r}, version {version[1]!r}; {FORMAT}, version {FORMAT_VERSION}, can "
            "be read. Evaluate again with this version of privpipe."
        )
    if digest != digest_of(content):
        raise PrivpipeError(
            f"{path} was changed after it was written: its digest is not that of its content. Entries are run, never "
            "typed in: evaluate again."
        )
    try:
        entry = Entry.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PrivpipeError(f"{path} is no whole record: {place}: {first['msg']}. Evaluate again.") from error
    if entry.figure is not None and entry.images.source not in SHOWABLE:
        raise PrivpipeError(
            f"{path} shows images of the source {entry.images.source}; only those of {', '.join(SHOWABLE)} may be "
            "shown. Evaluate again."
        )
    return entry
