"""Perturbed queries as files: PNG to look at, NPY and HDF5 without loss, and reading them back.

png  one image each; exact for methods that give 8 bits and images of 1 or 3 channels, else stretched to be looked at
npy  one array (H, W, C) each, uint8 or float16 as the method gives it
h5   all of them in one perturbed file (`privpipe.store`), as the split `test` in the order asked for, without
     labels; the names of the files stand in a table beside it, so that what is sent does not have them
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from privpipe.cli.png import write_png
from privpipe.cli.queries import Query, perturb_query
from privpipe.data.image_files import read_image
from privpipe.data.listing import BY_SUFFIX, SUFFIXES
from privpipe.data.places import refuse_files
from privpipe.errors import PrivpipeError
from privpipe.files import write_bytes, write_text
from privpipe.nn.bundle import Bundle
from privpipe.perturb import Perturbation
from privpipe.reading import Reading
from privpipe.report.display import displayable
from privpipe.store import PERTURBED, SPLITS, Header, create, open_store

FORMATS = ("png", "npy", "h5")
UNLABELLED = "unlabelled"  # the one class of a file of queries
Array = NDArray[Any]
Report = Callable[[str], None]


def plan(queries: Sequence[Query], out: Path, form: str, force: bool) -> list[Path]:
    """Where each perturbed image goes: `out` itself where it ends in the format's suffix, else below that folder.

    Args:
        form: `png` or `npy`.

    Raises:
        PrivpipeError: two images would go to the same file, a file exists and may not be overwritten, `out` is
            one file for several images, or a result would replace an image that is read.
    """
    suffix = f".{form}"
    if out.suffix.lower() == suffix and not os.path.isdir(out):
        if len(queries) > 1:
            raise PrivpipeError(f"--out {out} is one file, and there are {len(queries)} images. Name a folder.")
        targets = [out] * len(queries)
    elif out.suffix.lower() in {*SUFFIXES, *BY_SUFFIX, ".h5"} and not os.path.isdir(out):
        raise PrivpipeError(
            f"--out must be a folder, or end in {suffix} for one image; got {out}. Results are {form.upper()} files; "
            f"--format takes {', '.join(FORMATS)}."
        )
    else:
        targets = [out / query.name.with_suffix(suffix) for query in queries]
    seen: dict[Path, Path] = {}
    for query, target in zip(queries, targets, strict=True):
        if target in seen:
            raise PrivpipeError(
                f"{seen[target]} and {query.path} would both be written to {target}. Rename one, or perturb them to "
                "different folders."
            )
        seen[target] = query.path
    _check_free(targets, queries, force)
    return targets


def _check_free(targets: Iterable[Path], queries: Iterable[Query], force: bool) -> None:
    """Refuse targets that are images that are read, or, without `force`, that exist."""
    sources = {os.path.realpath(query.path) for query in queries}
    for target in targets:
        if os.path.realpath(target) in sources:
            raise PrivpipeError(f"{target} is one of the images that are read. Name another --out.")
        if os.path.lexists(target) and not force:
            raise PrivpipeError(f"{target} exists. Name another --out, or pass --force to overwrite.")


def write_each(
    queries: Sequence[Query],
    method: Perturbation,
    reading: Reading,
    out: Path,
    form: str,
    force: bool,
    report: Report,
) -> int:
    """Perturb images one by one and write a file of each, `png` or `npy`.

    Args:
        report: called with a message for every image that cannot be read; the others are written all the same.

    Returns:
        How many were written.

    Raises:
        PrivpipeError: see `plan`; or a file cannot be written.
    """
    written, targets = 0, plan(queries, out, form, force)
    for query, target in zip(tqdm(queries, desc="perturb", unit="img", disable=None), targets, strict=True):
        try:
            perturbed = perturb_query(method, read_image(query.path, method.image_size, reading))
        except PrivpipeError as error:
            report(str(error))
            continue
        if form == "npy":
            content = BytesIO()
            np.save(content, perturbed, allow_pickle=False)
            write_bytes(target, content.getvalue())
        else:
            shown = perturbed if exact_png(method, perturbed.shape[2]) else displayable(perturbed, method.image_range)
            write_png(target, shown)
        written += 1
    return written


def exact_png(method: Perturbation, channels: int) -> bool:
    """Whether a PNG holds the very values of a perturbed image."""
    return method.exact and channels in (1, 3)


def write_set(
    queries: Sequence[Query], method: Perturbation, reading: Reading, key_fingerprint: str, out: Path, force: bool
) -> int:
    """Perturb images into one HDF5 file `out`, and write the table of their rows and names beside it (`.csv`).

    Names of files tell of people: nobody else on this machine can read the table.

    Returns:
        How many were written.

    Raises:
        PrivpipeError: an image cannot be read (nothing is written then, so that rows follow the order asked for), `out`
            has another suffix or exists, git would take the table, or a file cannot be written.
    """
    table = out.with_suffix(".csv")
    if out.suffix.lower() != ".h5" or os.path.isdir(out):
        raise PrivpipeError(f"--out must end in .h5 with --format h5, which writes one file; got {out}.")
    if not queries:
        raise PrivpipeError("there is no image to perturb. Name images, or folders that hold some.")
    _check_free([out, table], queries, force)
    refuse_files("--out", [table], published="names of your files")
    size, sigma = method.image_size, method.sigma if method.noisy else 0.0
    shape = method.output_shape(reading.count)
    settings = (method.name, method.k, method.scope, (UNLABELLED,), method.image_range, shape, str(method.dtype), sigma)
    images = (size, size, reading.count) if method.features else None
    header = Header(
        PERTURBED,
        *settings,
        key_fingerprint,
        reading=reading.describe(),
        settings=method.settings,
        image_shape=images,
    )
    label = np.zeros(1, np.int64)
    with create(out, header, {"train": 0, "val": 0, "test": len(queries)}) as writer:
        for row, query in enumerate(tqdm(queries, desc="perturb", unit="img", disable=None)):
            image = perturb_query(method, read_image(query.path, size, reading))
            writer.write("test", row, image[None], label)
    names = (str(query.path).encode("utf-8", "replace").decode() for query in queries)
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("row", "file"), *enumerate(names)])
    write_text(table, text.getvalue(), private=True)
    return len(queries)


def read_perturbed(paths: Iterable[Path], bundle: Bundle, report: Report) -> Iterator[tuple[str, Array]]:
    """The perturbed images of files and folders, (H, W, C) as they are stored, each with its name.

    Images of an HDF5 file are called `FILE:SPLIT/ROW`. A folder stands for its PNG, NPY and HDF5 files in the order of
    their paths.

    Args:
        bundle: the model that they are for.
        report: called with a message for each file that is not for this model, or cannot be read.
    """
    for path in _expand(paths, report):
        try:
            if path.suffix.lower() == ".h5":
                yield from _rows(path, bundle)
            else:
                yield str(path), _read_one(path, bundle)
        except PrivpipeError as error:
            report(str(error))


def _expand(paths: Iterable[Path], report: Report) -> Iterator[Path]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        inside = sorted(p for p in path.rglob("[!.]*") if p.suffix.lower().lstrip(".") in FORMATS and p.is_file())
        if not inside:
            report(f"{path} holds no perturbed images. Name PNG, NPY or HDF5 files, or a folder that holds some.")
        yield from inside


def _rows(path: Path, bundle: Bundle) -> Iterator[tuple[str, Array]]:
    """The images of a perturbed file with or without labels, split by split."""
    with open_store(path, PERTURBED) as store:
        header = store.header
        if header.class_names == (UNLABELLED,):
            header = replace(header, class_names=bundle.class_names)
        bundle.check_fits(header, path)
        for split in SPLITS:
            for start, stop in store.spans(split):
                for row, image in enumerate(store.rows(split, start, stop), start):
                    yield f"{path}:{split}/{row}", image


def _read_one(path: Path, bundle: Bundle) -> Array:
    """The perturbed image of a PNG or NPY file."""
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Check its name.")
    size, channels = bundle.architecture.image_size, bundle.architecture.channels
    try:
        if path.suffix.lower() == ".npy":
            image: Array = open_memmap(path, mode="r")
        else:
            with Image.open(path, formats=["PNG"]) as file:
                image = np.array(file) if max(file.size) <= size else np.empty((*file.size[::-1], 0), np.uint8)
            image = image[..., None] if image.ndim == 2 else image
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # SyntaxError: of a damaged PNG or NPY header
        raise PrivpipeError(f"{path} is neither PNG nor NPY, or damaged. Write it again: privpipe perturb.") from error
    if (image.shape, image.dtype) != ((size, size, channels), np.dtype(bundle.dtype)):
        raise PrivpipeError(
            f"{path} holds {image.dtype} of {'x'.join(map(str, image.shape))}; the model takes perturbed images, "
            f"{bundle.dtype} of {size}x{size}x{channels}. Write them with `privpipe perturb --format npy`."
        )
    image = np.array(image)
    if not np.isfinite(image).all():
        raise PrivpipeError(f"{path} has values that are not finite (NaN or infinite). Perturb the image again.")
    return image
