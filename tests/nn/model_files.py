"""A model and its file, whole or forged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from privpipe.networks.base import Architecture
from privpipe.networks.registry import NETWORKS
from privpipe.nn.bundle import Bundle
from privpipe.nn.inference import Normalisation
from privpipe.nn.models import build
from privpipe.store import PERTURBED, Header

NAMES = ("ant", "bee")
KEY = "0123456789abcdef"
HEADER = Header(PERTURBED, "block_scramble", 4, "dataset", NAMES, (0.0, 255.0), (8, 8, 3), "uint8", 12.5, KEY)
Change = Callable[[dict[str, Any]], object]


def bundle(arch: str = "descrambler", seed: int = 0) -> Bundle:
    architecture = Architecture(arch, 8, 3, 2, 4 if NETWORKS[arch].descrambles else 1)
    model = build(architecture, torch.Generator().manual_seed(seed))
    for layer in model.modules():  # normalisation layers as after training
        if isinstance(layer, nn.BatchNorm2d):
            for values in layer.state_dict().values():
                nn.init.uniform_(values, 0.5, 2, generator=torch.Generator().manual_seed(seed))
    return Bundle(
        model,
        Normalisation(torch.tensor([100.0, 110.0, 120.0]), torch.tensor([50.0, 55.0, 60.0])),
        architecture,
        NAMES,
        "block_scramble",
        4,
        "dataset",
        "uint8",
        (0.0, 255.0),
        12.5,
        KEY,
    )


def forged(
    saved: Path, path: Path, about: Change | None = None, tensors: Callable[[dict[str, Tensor]], object] | None = None
) -> Path:
    """A copy of a model file with its description or its tensors changed, or its description as JSON text."""
    with safe_open(saved, framework="pt") as file:
        description = json.loads(file.metadata()["privpipe"])
    content = load_file(saved)
    if about:
        about(description)
    if tensors:
        tensors(content)
    description.pop("digest")
    description["digest"] = digest(description, content)
    save_file(content, path, metadata={"privpipe": json.dumps(description, sort_keys=True)})
    return path


def digest(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """That of the format, anew: whoever changes a model file on purpose can make it."""
    content = json.dumps(about, sort_keys=True).encode()
    for name in sorted(tensors):
        tensor = tensors[name]
        content += json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
        content += tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return xxhash.xxh3_128_hexdigest(content)
