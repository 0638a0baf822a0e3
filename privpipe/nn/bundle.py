"""The model file: a network, how to build it again, and how its input was made and is normalised.

A safetensors file, which holds numbers only and is safe to read from a cloud that is not trusted. Its description has a
digest of all that it says and of all tensors, so that a bit that was flipped on the way is noticed; against accidents
only, as in `privpipe.checksum`.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from privpipe.errors import CACHE_REMEDY, PrivpipeError
from privpipe.files import write_bytes
from privpipe.networks.base import Architecture
from privpipe.nn.fitted import network_called
from privpipe.nn.inference import Normalisation
from privpipe.nn.input_statistics import InputStatistics
from privpipe.nn.models import build, channels_last
from privpipe.perturb.settings import as_text, parsed
from privpipe.store import Header

FORMAT, FORMAT_VERSION = "privpipe-model", 2
MALFORMED = (OSError, ValueError, KeyError, TypeError, RuntimeError, ArithmeticError)  # what a damaged file can lead to
METADATA = "privpipe"  # one entry: safetensors writes several in an order that varies


@dataclass(frozen=True)
class Bundle:
    """A model with what is needed to use it again.

    Args:
        method, k, scope: the perturbation of its training images.
        dtype, image_range: how those were stored (see `privpipe.store.Header`).
        sigma, key_fingerprint: of the file of those images (see `privpipe.store.Header`).
        salt: of a model of raw images (see `privpipe.salt`); empty for every other.
        reading: how image files became the images (see `privpipe.store.Header`).
        settings: those that the method has of its own (see `privpipe.store.Header`).
        statistics: what the training images are like; None where nobody measured it.
        image_shape: of the images that features were made of (see `privpipe.store.Header`).
    """

    model: nn.Sequential
    normalise: Normalisation
    architecture: Architecture
    class_names: tuple[str, ...]
    method: str
    k: int
    scope: str
    dtype: str
    image_range: tuple[float, float]
    sigma: float = 0.0
    key_fingerprint: str = ""
    salt: str = ""
    reading: str = ""
    settings: dict[str, float] = field(default_factory=dict)
    statistics: InputStatistics | None = None
    image_shape: tuple[int, int, int] | None = None

    def check_fits(self, header: Header, path: str | Path) -> None:
        """Refuse images that are not perturbed as the training images were.

        Raises:
            PrivpipeError: method, its settings, key, salt, type, range, shape or classes differ.
        """
        size = self.architecture.image_size
        pairs = {
            "method": (self.method, header.method),
            "k": (self.k, header.k),
            "scope": (self.scope, header.scope),
            "sigma": (self.sigma, header.sigma),
            "settings": (self.settings, header.settings),
            "fingerprint of the key": (self.key_fingerprint, header.key_fingerprint),
            "salt": (self.salt, header.salt),
            "reading": (self.reading, header.reading),
            "dtype": (self.dtype, header.dtype),
            "image range": (self.image_range, header.image_range),
            "image shape": ((size, size, self.architecture.channels), header.shape),
            "shape of the originals": (self.image_shape, header.image_shape),
            "class names": (self.class_names, header.class_names),
        }
        differing = [f"{name} {mine!r} != {other!r}" for name, (mine, other) in pairs.items() if mine != other]
        if differing:
            raise PrivpipeError(
                f"the model was not trained on images like those of {path}: {'; '.join(differing)} (model != images). "
                "Run `dvc repro` to train on them."
            )


def _describe(bundle: Bundle) -> dict[str, Any]:
    """All of a bundle but its tensors, ready for JSON."""
    about: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
    said = asdict(bundle.architecture).items()
    architecture = {name: value for name, value in said if value is not False and value != ()}
    about |= {"architecture": architecture, "class_names": list(bundle.class_names)}
    about |= {"method": bundle.method, "k": bundle.k, "scope": bundle.scope, "sigma": float(bundle.sigma)}
    about |= {"key_fingerprint": bundle.key_fingerprint, "salt": bundle.salt}
    about |= {"reading": bundle.reading} if bundle.reading else {}  # files of the usual reading stay as they were
    about |= {"settings": as_text(bundle.settings)} if bundle.settings else {}
    about |= {"image_shape": list(bundle.image_shape)} if bundle.image_shape else {}
    about |= {"statistics": bundle.statistics.describe()} if bundle.statistics else {}
    return about | {"dtype": bundle.dtype, "image_range": [float(value) for value in bundle.image_range]}


def _as_json(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """The description with the XXH3 (128 bits) of itself and of the name, type, shape and bytes of each tensor."""
    state = xxhash.xxh3_128(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        state.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        state.update(np.ascontiguousarray(tensor.numpy()).data)
    return json.dumps(about | {"digest": state.hexdigest()}, sort_keys=True)


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    """What the file holds, by name, on the CPU."""
    tensors = {f"model.{name}": t.detach().cpu().contiguous() for name, t in bundle.model.state_dict().items()}
    return tensors | {"normalise.mean": bundle.normalise.mean.cpu(), "normalise.std": bundle.normalise.std.cpu()}


def _check(bundle: Bundle) -> None:
    """Refuse, with a ValueError, fields that contradict each other."""
    architecture, (low, high) = bundle.architecture, bundle.image_range
    if len(bundle.class_names) != architecture.classes:
        raise ValueError(f"{len(bundle.class_names)} class names for {architecture.classes} classes")
    network = network_called(architecture.arch)
    if bundle.k < 1 or (network is not None and network.descrambles and architecture.k != bundle.k):
        raise ValueError(f"k={bundle.k}, and its descrambler has k={architecture.k}")
    if not -math.inf < low < high < math.inf or not bool((bundle.normalise.std > 0).all()):
        raise ValueError("its image range or its normalisation is impossible")
    if not 0 <= bundle.sigma < math.inf:
        raise ValueError(f"sigma is {bundle.sigma}")
    if any(name.endswith("running_var") and bool((t < 0).any()) for name, t in bundle.model.named_buffers()):
        raise ValueError("a variance is negative")


def model_bytes(model: nn.Module) -> int:
    """About what a model takes on the disk, and not less: its tensors, and space for names and description."""
    return sum(int(t.nbytes) for t in model.state_dict().values()) + (64 << 10)


def save_bundle(path: str | Path, bundle: Bundle) -> None:
    """Write a model file; the same model gives the same bytes."""
    tensors = _tensors(bundle)
    # Written by us: safetensors' own writer has errors of its own for a full disk, and follows links.
    write_bytes(path, save(tensors, metadata={METADATA: _as_json(_describe(bundle), tensors)}))


def load_bundle(path: str | Path) -> Bundle:
    """Read a model file, checking it against the architecture that it declares.

    Raises:
        PrivpipeError: the file is missing, no model of ours, of another version, changed since it was written, or its
            tensors are not those of its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Train it with `dvc repro train`, or get it with `dvc pull`.")
    try:
        with safe_open(path, framework="pt") as file:
            description = (file.metadata() or {}).get(METADATA, "{}")
            about = _parse(description)
            architecture = Architecture(**about["architecture"])
            with torch.device("meta"):
                model = build(architecture)
            tensors = _read_tensors(file, model, architecture)
        bundle = _assemble(model, architecture, tensors, about)
        if _as_json(_describe(bundle), tensors) != description:
            raise ValueError(_difference(bundle, about))
        _check(bundle)
        return bundle
    except (PrivpipeError, SafetensorError, *MALFORMED) as error:
        raise PrivpipeError(
            f"{path} is no privpipe model, or damaged ({error}). Train it again with `dvc repro train`, or pull it "
            f"again. {CACHE_REMEDY}"
        ) from error


def _parse(description: str) -> dict[str, Any]:
    """The description of a model of ours; ValueError for others."""
    about = json.loads(description)
    if not isinstance(about, dict):
        raise ValueError("its description is no dictionary")
    if about.get("format") != FORMAT or about.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"format {about.get('format')!r}, version {about.get('format_version')!r}; this privpipe reads "
            f"{FORMAT!r}, version {FORMAT_VERSION}"
        )
    return about


def _read_tensors(file: Any, model: nn.Sequential, architecture: Architecture) -> dict[str, Tensor]:
    """The tensors of an open file, by name; none is read before their shapes are those of `model`, which is on meta."""
    expected = {f"model.{name}": tuple(t.shape) for name, t in model.state_dict().items()}
    expected |= dict.fromkeys(("normalise.mean", "normalise.std"), (architecture.channels,))
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if shapes != expected:
        raise ValueError("its tensors are not those of its architecture")
    tensors = {name: file.get_tensor(name) for name in expected}
    if not all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in tensors.values()):
        raise ValueError("a tensor is not float32, or holds NaN or infinite values")
    return tensors


def _assemble(
    model: nn.Sequential, architecture: Architecture, tensors: dict[str, Tensor], about: dict[str, Any]
) -> Bundle:
    """The bundle of what a file holds; its fields have the right types, whatever those of the description are."""
    state = model.state_dict()  # with torch's version marks; without them BatchNorm expects a count of batches
    state.update({name: tensors[f"model.{name}"] for name in state})
    if any(name not in state for name, _ in model.named_buffers()):  # not in the file: the network computes them
        model = build(architecture)
    model.load_state_dict(state, assign=True)
    low, high = (float(value) for value in about["image_range"])
    return Bundle(
        channels_last(model),
        Normalisation(tensors["normalise.mean"], tensors["normalise.std"]),
        architecture,
        tuple(str(name) for name in about["class_names"]),
        str(about["method"]),
        int(about["k"]),
        str(about["scope"]),
        str(about["dtype"]),
        (low, high),
        float(about["sigma"]),
        str(about["key_fingerprint"]),
        str(about["salt"]),
        str(about.get("reading", "")),
        parsed(str(about.get("settings", ""))),
        InputStatistics.parse(about["statistics"]) if "statistics" in about else None,
        _shape(about["image_shape"]) if "image_shape" in about else None,
    )


def _shape(lengths: list[Any]) -> tuple[int, int, int]:
    height, width, channels = (int(length) for length in lengths)
    return height, width, channels


def _difference(bundle: Bundle, about: dict[str, Any]) -> str:
    """Why a description is not the one with which a bundle is saved."""
    said = {name: value for name, value in about.items() if name != "digest"}
    if json.dumps(_describe(bundle), sort_keys=True) != json.dumps(said, sort_keys=True):
        return "a field has a type or value that no model is saved with"
    return "its checksum differs: a weight or its description changed since it was written"
