"""What an adversary of a perturbed file sees: no key and no parameters are needed."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from privpipe.cli.console import printable
from privpipe.cli.png import sheet, write_png
from privpipe.errors import PrivpipeError
from privpipe.perturb.settings import in_words
from privpipe.released import RELEASED, is_release, load_released
from privpipe.report.advice import verdict
from privpipe.scores.set_release import release_of
from privpipe.store import PERTURBED, RAW, SPLITS, Store, open_store

SHEET_IMAGES = 64


def inspect_file(path: str | Path, sheet_path: str | Path | None = None) -> dict[str, Any]:
    """All that a perturbed file says of itself, ready for JSON; optionally a PNG of its first training images.

    Returns:
        Of a release of a whole set: file, bytes, format, method, settings, image_shape, class_names, numbers (the shape
        of each array) and verdict. Of images:
        file, bytes, format, method, k, scope, sigma, settings (where the method has any of its own), key_fingerprint
        (empty without a key), image_shape (H, W, C), dtype, image_range (the values of black and white), values (least
        and greatest that occur; None without images), class_names, counts by split, known_to_fall (see `verdict`) and
        verdict, a sentence.

    Raises:
        PrivpipeError: the file is missing, damaged, or holds raw images; the sheet cannot be drawn or written.
    """
    path = Path(path)
    if is_release(path):
        return _inspect_release(path, sheet_path)
    _refuse_raw(path)
    with open_store(path, PERTURBED) as store:
        header = store.header
        if sheet_path is not None:
            _write_sheet(store, sheet_path)
        falls, sentence = verdict(header)
        return {
            "file": str(path),
            "bytes": path.stat().st_size,
            "format": header.kind,
            "method": header.method,
            "k": header.k,
            "scope": header.scope,
            "sigma": header.sigma,
            **({"settings": header.settings} if header.settings else {}),
            "key_fingerprint": header.key_fingerprint,
            "image_shape": list(header.shape),
            "dtype": header.dtype,
            "image_range": list(header.image_range),
            "values": _extremes(store),
            "class_names": list(header.class_names),
            "counts": store.counts,
            "known_to_fall": falls,
            "verdict": sentence,
        }


def _inspect_release(path: Path, sheet_path: str | Path | None) -> dict[str, Any]:
    released = load_released(path)
    if sheet_path is not None:
        raise PrivpipeError(f"{path} holds numbers of a whole set, and no images to draw. Leave out --sheet.")
    about, release = released.about, release_of(released.about)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "format": RELEASED,
        "method": about.method,
        "settings": about.settings,
        "image_shape": list(about.shape),
        "class_names": list(about.class_names),
        "numbers": {name: list(values.shape) for name, values in released.numbers.items()},
        "verdict": f"{release.guarantee} {release.advice}",
    }


def _refuse_raw(path: Path) -> None:
    raw = False
    with suppress(PrivpipeError), open_store(path, RAW):  # whatever else is wrong is found out afterwards
        raw = True
    if raw:
        raise PrivpipeError(
            f"{path} holds raw images: it must not leave its owner, and an adversary would see everything. Inspect the "
            "perturbed file instead (data/perturbed.h5); `dvc repro perturb` makes it."
        )


def _extremes(store: Store) -> list[float] | None:
    """Least and greatest value of all images, read in chunks."""
    low, high = [], []
    for split in SPLITS:
        for start, stop in store.spans(split):
            images = store.rows(split, start, stop)
            low.append(float(images.min()))
            high.append(float(images.max()))
    return [min(low), max(high)] if low else None


def _write_sheet(store: Store, path: str | Path) -> None:
    split = next((split for split in SPLITS if store.counts[split]), None)
    if split is None:
        raise PrivpipeError(f"{store.path} has no images to draw. Leave out --sheet.")
    if store.header.shape[2] > 4:
        raise PrivpipeError(
            f"{store.path} has images of {store.header.shape[2]} channels; a sheet shows 1 to 4. Leave out --sheet."
        )
    start, stop = next(store.spans(split))
    write_png(path, sheet(store.rows(split, start, min(stop, SHEET_IMAGES)), store.header.image_range))


def as_text(seen: dict[str, Any]) -> str:
    """The result of `inspect_file` for people."""
    if "numbers" in seen:
        settings = (f"{name} = {value:g}" for name, value in seen["settings"].items())
        values = sum(math.prod(shape) for shape in seen["numbers"].values())
        return _lines(
            {
                "file": f"{seen['file']} ({seen['format']}, {seen['bytes']:,} bytes)",
                "method": ", ".join([seen["method"], *settings]),
                "numbers": f"{values:,} in {len(seen['numbers'])} arrays, those of public images included",
                "classes": f"{len(seen['class_names'])}: {', '.join(seen['class_names'])}",
                "privacy": seen["verdict"],
            }
        )
    height, width, channels = seen["image_shape"]
    low, high = seen["image_range"]
    extremes = "no images" if seen["values"] is None else "{:g} to {:g}".format(*seen["values"])
    own = f", {in_words(seen['settings'])}" if "settings" in seen else ""
    noise = f", sigma = {seen['sigma']:g}" if seen["sigma"] else ""
    lines = {
        "file": f"{seen['file']} ({seen['format']}, {seen['bytes']:,} bytes)",
        "method": f"{seen['method']}, k = {seen['k']}, scope {seen['scope']}{noise}{own}",
        "key": f"fingerprint {seen['key_fingerprint']}" if seen["key_fingerprint"] else "none",
        "images": f"{height} x {width}, {channels} channel{'s' * (channels > 1)}, {seen['dtype']}",
        "values": f"{extremes} (black is {low:g}, white is {high:g})",
        "counts": ", ".join(f"{split} {count:,}" for split, count in seen["counts"].items()),
        "classes": f"{len(seen['class_names'])}: {', '.join(seen['class_names'])}",
        "privacy": seen["verdict"],
    }
    return _lines(lines)


def _lines(values: dict[str, str]) -> str:
    return "\n".join(f"{name + ':':9}{printable(value)}" for name, value in values.items())
