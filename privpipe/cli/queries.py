"""Single images perturbed as a training set was, to be classified or looked at."""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.data.listing import find_images
from privpipe.errors import PrivpipeError, unknown
from privpipe.owner.key import Key
from privpipe.perturb import METHODS, Perturbation
from privpipe.perturb.settings import Settings
from privpipe.reading import Reading
from privpipe.store import PERTURBED, open_store

SCOPES = ("dataset", "image")


@dataclass(frozen=True)
class Query:
    """An image that was asked for.

    Args:
        path: the file.
        name: its place below the folder in which it was found; its own name where it was given itself.
    """

    path: Path
    name: Path


def expand(paths: Iterable[Path], outside: Path | None = None) -> tuple[list[Query], list[str]]:
    """The images that files and folders stand for, in the order given, and a message for each folder without any.

    A file that is given itself is taken as it is, whatever its suffix and even where it is missing, so that
    reading it says what is wrong with it.

    Args:
        outside: a folder for results, which must not lie in a folder of images.

    Raises:
        PrivpipeError: `outside` lies in one of the folders: the next run would take its own results for images.
    """
    queries, problems = [], []
    for path in paths:
        if not os.path.isdir(path):
            queries.append(Query(path, Path(path.name)))
            continue
        if outside is not None and Path(os.path.realpath(outside)).is_relative_to(os.path.realpath(path)):
            raise PrivpipeError(
                f"--out {outside} lies in {path}, whose images are read: the next run would take the results for "
                "images. Name a folder elsewhere."
            )
        try:
            inside = find_images(path)
        except PrivpipeError as error:
            problems.append(str(error))
            continue
        queries += [Query(image, image.relative_to(path)) for image in inside]
        if not inside:
            problems.append(f"{path} holds no images. Name a folder with images, or the files themselves.")
    return queries, problems


def query_method(
    name: str,
    k: int,
    scope: str,
    sigma: float,
    image_size: int,
    read_key: Callable[[], Key | None],
    settings: Settings,
) -> Perturbation:
    """The transformation of a training set, for queries.

    Args:
        sigma: noise strength in levels of 0..255; ignored by methods without noise.
        read_key: called for a method that needs a key, and for no other.
        settings: those that the method has of its own.

    Raises:
        PrivpipeError: there is no such method or setting, or a key is needed and there is none.
    """
    method = METHODS.get(name)
    if method is None:
        raise PrivpipeError(unknown("the method", name, list(METHODS)))
    legal = method.legal_k(image_size)
    if legal is not None and k not in legal:
        sizes = ", ".join(map(str, legal))
        raise PrivpipeError(
            f"k of {name} must be one of {sizes} for images of {image_size} pixels; got {k}. Use a model or parameters "
            "that this version of privpipe made."
        )
    if scope not in SCOPES:
        raise PrivpipeError(unknown("the scope", scope, list(SCOPES)))
    if method.noisy and not 0 < sigma < math.inf:
        raise PrivpipeError(
            f"{name} needs a noise strength over 0, in levels of 0..255; got {sigma:g}. Set perturb.sigma, or use a "
            "model that was trained on noise."
        )
    problems = method.setting_problems(image_size, k, sigma, settings)
    if problems:
        raise PrivpipeError("\n".join(problems))
    key = read_key() if method.keyed else None
    if method.keyed and key is None:
        raise PrivpipeError(f"{name} needs the key of the training set; got none. Pass it with --key.")
    return method(image_size, k, scope, sigma if method.noisy else 0.0, key.stream if key else None, **settings)


def query_reading(settings: Reading, like: Path) -> Reading:
    """How the files of queries are read: as `settings` say, with the limits of the set that `like` holds.

    Raises:
        PrivpipeError: the limits are needed and `like` is missing or damaged, or was read in another way.
    """
    if settings.range != "set":
        return settings
    with open_store(like, PERTURBED) as store:
        found = Reading.parse(store.header.reading)
    if replace(found, limits=()) != settings:
        raise PrivpipeError(
            f"the images of {like} were read in another way than the parameters say: {found.describe() or 'as usual'}. "
            "Run `dvc repro perturb`, or name the file of this parameter file with --like."
        )
    return found


def perturb_query(method: Perturbation, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Perturb one image (H, W, C); the result has its shape, and the type of the method.

    A result depends on the image alone, not on its name nor on the others that are asked for. So an image of the
    training set comes out as the training set has it (as the first, of equal ones), whoever sees both.
    """
    perturbed: NDArray[Any] = method.apply(image[None])[0]
    return perturbed
