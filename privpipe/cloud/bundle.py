"""The model file: a network, how to build it again, and how its input was made and is normalised.

A safetensors file, which holds numbers only and is safe to read from a cloud that is not trusted.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from privpipe.cloud.models import Architecture, build
from privpipe.cloud.training import Normalisation
from privpipe.errors import PrivpipeError
from privpipe.files import atomic_path
from privpipe.store import Header

FORMAT, FORMAT_VERSION = "privpipe-model", 1
METADATA = "privpipe"  # one entry: safetensors writes several in an order that varies


@dataclass(frozen=True)
class Bundle:
    """A model with what is needed to use it again.

    Args:
        method, k, scope: the perturbation of its training images.
        dtype, image_range: how those were stored (see `privpipe.store.Header`).
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

    def check_fits(self, header: Header, path: str | Path) -> None:
        """Refuse images that are not perturbed as the training images were.

        Raises:
            PrivpipeError: method, k, scope, type, size or classes differ.
        """
        mine = (self.method, self.k, self.scope, self.dtype, self.architecture.image_size, self.class_names)
        other = (header.method, header.k, header.scope, header.dtype, header.shape[0], header.class_names)
        names = ("method", "k", "scope", "dtype", "image size", "class names")
        differing = [f"{n} {a!r} != {b!r}" for n, a, b in zip(names, mine, other, strict=True) if a != b]
        if differing:
            raise PrivpipeError(
                f"the model was not trained on images like those of {path}: {'; '.join(differing)} (model != images). "
                "Run `dvc repro` to train on them."
            )


def save_bundle(path: str | Path, bundle: Bundle) -> None:
    """Write a model file; the same model gives the same bytes."""
    about: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
    about |= {"architecture": asdict(bundle.architecture), "class_names": list(bundle.class_names)}
    about |= {"method": bundle.method, "k": bundle.k, "scope": bundle.scope}
    about |= {"dtype": bundle.dtype, "image_range": list(bundle.image_range)}
    tensors = {f"model.{name}": t.detach().cpu().contiguous() for name, t in bundle.model.state_dict().items()}
    tensors |= {"normalise.mean": bundle.normalise.mean.cpu(), "normalise.std": bundle.normalise.std.cpu()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata={METADATA: json.dumps(about, sort_keys=True)})


def load_bundle(path: str | Path) -> Bundle:
    """Read a model file, checking it against the architecture that it declares.

    Raises:
        PrivpipeError: the file is missing, no model of ours, of another version, damaged, or its tensors are
            not those of its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise PrivpipeError(f"{path} is missing. Train it with `dvc repro train`, or get it with `dvc pull`.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            if about.get("format") != FORMAT or about.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"format {about.get('format')!r}, version {about.get('format_version')!r}")
            architecture = Architecture(**about["architecture"])
            with torch.device("meta"):
                model = build(architecture)
            expected = {f"model.{name}": tuple(t.shape) for name, t in model.state_dict().items()}
            expected |= dict.fromkeys(("normalise.mean", "normalise.std"), (architecture.channels,))
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if found != expected:
                raise ValueError("its tensors are not those of its architecture")
            tensors = {name: file.get_tensor(name) for name in expected}
        if not all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in tensors.values()):
            raise ValueError("a tensor is not float32, or holds NaN or infinite values")
        model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()}, assign=True)
        low, high = (float(value) for value in about["image_range"])
        return Bundle(
            model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            Normalisation(tensors["normalise.mean"], tensors["normalise.std"]),
            architecture,
            tuple(str(name) for name in about["class_names"]),
            str(about["method"]),
            int(about["k"]),
            str(about["scope"]),
            str(about["dtype"]),
            (low, high),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise PrivpipeError(
            f"{path} is no privpipe model, or damaged ({error}). Train it again with `dvc repro train`."
        ) from error
