"""A challenge as a solver has it: a folder of uploads without a key, its rules, and what is handed in.

    challenge.json    the rules: the method and its settings, what is asked, what is handed in, how it is scored
    uploads.h5        uploads of one key: `train` to learn from, `test` to be reconstructed, `val` to be named
    public.h5         images of the same kind
    candidates.h5     the originals of `val`, in another order
    leaked.h5         the originals of the first rows of `train`, where known pairs are given

What is handed in is one HDF5 file: `images` uint8 (T, H, W, C), a reconstruction of each row of `test`, and
`candidates` int64 (V,), for each row of `val` the row of candidates.h5 that it is believed to be of. Either may be
missing.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from privpipe.attacks.base import LEVELS, Attack, Budget
from privpipe.attacks.records import as_images
from privpipe.attacks.suite import load_view
from privpipe.checksum import check
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Images
from privpipe.store import PERTURBED, PUBLIC, new_hdf5, open_store

FORMAT, SOLUTION, FORMAT_VERSION = "privpipe-challenge", "privpipe-solution", 1
RULES, UPLOADS, PUBLIC_IMAGES, CANDIDATES, LEAKED_IMAGES = (
    "challenge.json",
    "uploads.h5",
    "public.h5",
    "candidates.h5",
    "leaked.h5",
)
EPOCHS = 10  # of an attack that trains a network
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """What a challenge says of itself.

    Args:
        content: of challenge.json: `perturb`, `asked`, `scored` and `files`, the SHA-256 of each file.
        digest: the SHA-256 of challenge.json, which a solution names.
    """

    content: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Solution:
    """What a solver hands in.

    Args:
        by: who, in a few words.
        images: uint8 (T, H, W, C), or None.
        candidates: int64 (V,), or None.
        challenge: the digest of the rules of the challenge that it is for.
    """

    by: str
    images: Images | None
    candidates: Rows | None
    challenge: str


def load_rules(folder: str | Path) -> Rules:
    """Read the rules of a challenge, and compare its files with what they say.

    Raises:
        PrivpipeError: the folder holds no challenge, or one of its files is missing or another one.
    """
    folder = Path(folder)
    try:
        text = (folder / RULES).read_bytes()
        content = json.loads(text)
        known = (content["format"], content["format_version"])
        files: Mapping[str, str] = content["files"]
        if known != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"format {known}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrivpipeError(f"{folder} holds no challenge of this version: {error}. Fetch it again.") from error
    for name, digest in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise PrivpipeError(f"{folder / name} is missing or not the challenge's. Fetch it again.")
    return Rules(content, hashlib.sha256(text).hexdigest())


def sha256(path: Path) -> str:
    """Of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def solve(folder: str | Path, kind: type[Attack]) -> Solution:
    """Have an attack solve a challenge with all that it gives: images, and with them the likeliest candidates.

    Raises:
        PrivpipeError: the challenge is damaged, or the attack does not apply or refuses.
    """
    attack = kind.within(Budget(EPOCHS)) or kind()
    folder, rules = Path(folder), load_rules(folder)
    with open_store(folder / UPLOADS, PERTURBED) as store:
        asked, named = (store.images(split) for split in ("test", "val"))
    with open_store(folder / CANDIDATES, PUBLIC) as store:
        candidates = store.images("train")
    view = load_view(folder / UPLOADS, folder / PUBLIC_IMAGES, folder / LEAKED_IMAGES, len(asked), None)
    if not attack.applies(view.transformation) or attack.refusal(view.transformation):
        raise PrivpipeError(f"{attack.name} is not for {view.method}. Use an attack that applies.")
    view = replace(view, targets=np.concatenate([asked, named]))
    if view.pairs is not None and "L2" not in attack.levels:
        view = replace(view, pairs=None)
    if attack.levels == LEVELS[:1]:
        view = replace(view, public=None)
    images, last = attack.run(view).images, replace(view, targets=named)
    if images is None:
        raise PrivpipeError(f"{attack.name} brings no images. Use another attack.")
    likeliest = attack.similarity(last, images[len(asked) :], candidates).argmax(axis=1)
    return Solution(
        f"privpipe: {attack.name}", as_images(images[: len(asked)]), likeliest.astype(np.int64), rules.digest
    )


def read_solution(folder: str | Path, by: str, images: Path | None, candidates: Path | None) -> Solution:
    """A solution from NumPy files (.npy) of its two parts.

    Raises:
        PrivpipeError: a file cannot be read, or does not fit the challenge; or both are missing.
    """
    rules = load_rules(folder)
    if images is None and candidates is None:
        raise PrivpipeError("nothing is handed in. Give --images, --candidates or --attack.")
    shown, rows = (None if path is None else _array(path) for path in (images, candidates))
    solution = Solution(by, shown, rows, rules.digest)
    check_solution(rules, solution)
    return solution


def check_solution(rules: Rules, solution: Solution) -> None:
    """Refuse what is not as the rules ask.

    Raises:
        PrivpipeError: the solution is for another challenge, or an array has another type, shape or range.
    """
    if solution.challenge != rules.digest:
        raise PrivpipeError("the solution is for another challenge. Hand in one that was made for this one.")
    asked = rules.content["asked"]
    shape, count, most = tuple(asked["images"]), asked["candidates"], asked["among"]
    images, rows = solution.images, solution.candidates
    if images is not None and (images.dtype != np.uint8 or images.shape != shape):
        raise PrivpipeError(f"the images must be uint8 {shape}; got {images.dtype} {images.shape}.")
    if rows is not None and (rows.dtype.kind not in "iu" or rows.shape != (count,)):
        raise PrivpipeError(f"the candidates must be whole numbers ({count},); got {rows.dtype} {rows.shape}.")
    if rows is not None and not (rows.min() >= 0 and rows.max() < most):
        raise PrivpipeError(
            f"the candidates must be rows of candidates.h5, 0 to {most - 1}; got {rows.min()} to {rows.max()}."
        )


def save_solution(path: str | Path, solution: Solution) -> None:
    """Write a solution, atomically.

    Raises:
        PrivpipeError: the disk is full, or `path` cannot be written.
    """
    with new_hdf5(path) as (file, _):
        file.attrs["format"], file.attrs["format_version"] = SOLUTION, FORMAT_VERSION
        file.attrs["by"], file.attrs["challenge"] = solution.by, solution.challenge
        if solution.images is not None:
            file["images"] = solution.images
        if solution.candidates is not None:
            file["candidates"] = solution.candidates.astype(np.int64)


def load_solution(path: str | Path) -> Solution:
    """Read a solution.

    Raises:
        PrivpipeError: the file is missing, damaged, or no solution.
    """
    path = Path(path)
    try:
        with path.open("rb", buffering=0) as raw:
            check(raw.fileno())
        with closing(h5py.File(path, "r")) as file:
            if (file.attrs["format"], int(file.attrs["format_version"])) != (SOLUTION, FORMAT_VERSION):
                raise ValueError("it is of another format or version")
            images, rows = (file[name][:] if name in file else None for name in ("images", "candidates"))
            return Solution(str(file.attrs["by"]), images, rows, str(file.attrs["challenge"]))
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise PrivpipeError(f"{path} is no solution: {error}. Make one with `privpipe challenge submit`.") from error


def _array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.array(open_memmap(path, mode="r"))
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise PrivpipeError(f"cannot read {path}: {error}. Write it with numpy.save.") from error
    return array
