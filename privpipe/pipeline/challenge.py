"""A challenge as its owner has it: making one, and scoring what is handed in.

The images are public ones (CIFAR-10, or drawn), so that candidates may be published; which of them are where, and the
key, stay in a folder of the owner. See `privpipe.attacks.challenge` for what is published.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privpipe.attacks.challenge import (
    CANDIDATES,
    FORMAT,
    FORMAT_VERSION,
    LEAKED_IMAGES,
    PUBLIC_IMAGES,
    RULES,
    UPLOADS,
    Solution,
    check_solution,
    load_rules,
    sha256,
)
from privpipe.attacks.standard import NEWEST
from privpipe.data.images import RawImages
from privpipe.data.places import refuse_files
from privpipe.data.split import write_images
from privpipe.errors import PrivpipeError
from privpipe.files import hide_folder, make_folder, write_json, write_text
from privpipe.nn.statistics import wilson_interval
from privpipe.owner.key import Key, new_key, read_any, write_key
from privpipe.owner.leaking import leak
from privpipe.owner.order import KeyedOrder
from privpipe.owner.perturbing import perturb_file
from privpipe.pipeline.entries import size_named
from privpipe.pipeline.evaluate import Asked, method_named, params_for
from privpipe.pipeline.steps.download import download
from privpipe.scores import fidelity
from privpipe.scores.base import worst
from privpipe.store import PERTURBED, PUBLIC, RAW, open_store

KEY, IMAGES = "key.json", "images.h5"
README = "challenge_readme.md"  # beside this module
SCORED = {
    "images": "SSIM and PSNR of every reconstruction with its original, the mean over all; beside it what the mean of "
    "the public images scores",
    "candidates": "fraction of the uploads whose candidate is the right one, with a 95 % interval; beside it what the "
    "class alone tells",
}


def new_challenge(asked: Asked, folder: Path, private: Path, pairs: int = 0) -> dict[str, Any]:
    """Make a challenge: what is published in `folder`, images and key in `private`.

    Args:
        asked: the method, its settings and the images; of the size the numbers of images count.
        pairs: originals of uploads that are published too, the first of `train`.

    Returns:
        The rules.

    Raises:
        PrivpipeError: there is a challenge in a folder already, one folder is in the other, git would take what is in
            `private`, the method has no key, or the images are missing.
    """
    one, other = folder.resolve(), private.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise PrivpipeError(
            f"{private} is to hold the key and the originals, and {folder} is published. Name two folders, neither of "
            "them in the other."
        )
    for place in (folder, private):
        if (place / RULES).exists():
            raise PrivpipeError(f"{place} holds a challenge already. Name another folder.")
    refuse_files("the private folder", [private / KEY, private / IMAGES], published="key and originals")
    method, size = method_named(asked.scheme), size_named(asked.size)
    if not method.keyed:
        raise PrivpipeError(f"{method.name} has no key, so that there is nothing to solve. Use a method with a key.")
    params, key = params_for(method, asked), new_key(None)
    # Drawn images follow from the seed alone: a secret one, which is not kept.
    data = params.data.model_copy(update={"split_seed": secrets.randbelow(2**63)})
    hide_folder(private)
    make_folder(folder)
    write_key(private / KEY, key)
    download(data, key, private / "raw", str(private / IMAGES), str(folder / PUBLIC_IMAGES))
    perturb_file(private / IMAGES, folder / UPLOADS, params.perturb, key)
    leak(private / IMAGES, folder / LEAKED_IMAGES, pairs)
    with open_store(private / IMAGES, RAW) as store:
        originals = RawImages(store.images("val"), store.labels("val"), store.header.class_names)
    rows = {"train": _order(key, len(originals))}
    write_images(folder / CANDIDATES, originals, originals, rows, PUBLIC)
    published = (UPLOADS, PUBLIC_IMAGES, CANDIDATES, LEAKED_IMAGES)
    for name in published:
        (folder / name).chmod(0o644)
    shape = (size.test, *originals.images.shape[1:])
    rules = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "suite": NEWEST.title,
        "perturb": params.perturb.model_dump(),
        "source": params.data.source,
        "asked": {"images": shape, "candidates": len(originals), "among": len(originals)},
        "scored": SCORED,
        "files": {name: sha256(folder / name) for name in published},
    }
    given = f", and leaked.h5 holds the originals of its first {pairs}" if pairs else ""
    counts = {"uploads": size.train + size.val + size.test, "train": size.train, "named": size.val}
    about = Path(__file__).with_name(README).read_text(encoding="utf-8")
    text = about.format(**params.perturb.model_dump(), **counts, shape=shape, source=asked.source, pairs=given)
    write_text(folder / "README.md", text)
    for place in (private, folder):
        write_json(place / RULES, rules)
    return rules


def _order(key: Key, count: int) -> Any:
    """Which original stands in which row of the candidates; only the key tells."""
    return KeyedOrder(key.stream.child("challenge", "candidates")).permutation(np.arange(count))


@dataclass(frozen=True)
class Result:
    """How good a solution is; None for a part that was not handed in.

    Args:
        ssim, psnr, ssim_worst: means over the reconstructions, and over the worst-protected 1 %.
        ssim_of_mean: the SSIM of the mean of the public images.
        named, named_low, named_high: fraction of uploads that were named rightly, with a 95 % interval.
        named_by_class: what the class alone tells.
    """

    by: str
    ssim: float | None = None
    psnr: float | None = None
    ssim_worst: float | None = None
    ssim_of_mean: float | None = None
    named: float | None = None
    named_low: float | None = None
    named_high: float | None = None
    named_by_class: float | None = None


def score_solution(folder: Path, private: Path, solution: Solution) -> Result:
    """Score a solution by the rules.

    Args:
        folder, private: as of `new_challenge`.

    Raises:
        PrivpipeError: a file is missing, damaged or of another challenge, or the solution is not as the rules ask.
    """
    check_solution(load_rules(folder), solution)
    key = read_any(private / KEY)
    with open_store(private / IMAGES, RAW) as store, open_store(folder / UPLOADS, PERTURBED) as uploads:
        if not isinstance(key, Key) or uploads.header.key_fingerprint != key.fingerprint:
            raise PrivpipeError(
                f"{private} does not belong to the challenge {folder}. Name the folder that was made with it."
            )
        originals, labels = store.images("test"), store.labels("val")
    with open_store(folder / PUBLIC_IMAGES, PUBLIC) as store:
        mean = store.images("train").mean(axis=0, dtype=np.float64)
    scores: dict[str, float] = {}
    if solution.images is not None:
        ssim = fidelity.ssim(originals, solution.images)
        guess = np.broadcast_to(np.rint(mean).astype(np.uint8), originals.shape)
        scores |= {"ssim": float(ssim.mean()), "ssim_worst": worst(ssim)}
        scores["psnr"] = float(fidelity.psnr(originals, solution.images).mean())
        scores["ssim_of_mean"] = float(fidelity.ssim(originals, guess).mean())
    if solution.candidates is not None:
        right = int((_order(key, len(labels))[solution.candidates] == np.arange(len(labels))).sum())
        low, high = wilson_interval(right, len(labels))
        scores |= {"named": right / len(labels), "named_low": low, "named_high": high}
        scores["named_by_class"] = len(np.unique(labels)) / len(labels)
    return Result(solution.by, **scores)
