"""A classifier that is fitted to a release of noisy sums: it takes images as they are.

Everything here is the cloud's: it follows from the numbers of a release, and costs no privacy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privpipe.statistics.features import FeatureMap, NetworkFeatures, PatchFeatures, Projection
from privpipe.statistics.heads import Head
from privpipe.statistics.mechanism import clipped
from privpipe.statistics.values import Floats, Images

Arrays = Mapping[str, NDArray[Any]]
MAPS: dict[str, type[Any]] = {"patches": PatchFeatures, "network": NetworkFeatures}


@dataclass(frozen=True)
class Vectors:
    """From images to vectors of norm at most 1: feature maps side by side, projected.

    Args:
        maps: by the names of `MAPS`.
    """

    maps: dict[str, FeatureMap]
    projection: Projection

    def of(self, images: Images) -> Floats:
        """uint8 (N, H, W, C) to float32 (N, d)."""
        return self.projected(np.concatenate([one.of(images) for one in self.maps.values()], axis=1))

    def projected(self, values: Floats) -> Floats:
        """The same of what the maps say, float32 (N, F)."""
        return clipped(self.projection.of(values))

    def arrays(self) -> dict[str, Floats]:
        """All that defines it, by names with a dot."""
        named = {f"{name}.{part}": values for name, one in self.maps.items() for part, values in one.arrays().items()}
        return {**named, "projection.mean": self.projection.mean, "projection.matrix": self.projection.matrix}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Vectors":
        """What `arrays` gave, of which others may be beside."""
        groups = {name: part_of(arrays, name) for name in MAPS}
        maps = {name: MAPS[name].from_arrays(parts) for name, parts in groups.items() if parts}
        return cls(maps, Projection(arrays["projection.mean"], arrays["projection.matrix"]))


@dataclass(frozen=True)
class Classifier:
    """Vectors of images, and the head on them."""

    vectors: Vectors
    head: Head

    def scores(self, images: Images) -> Floats:
        """uint8 (N, H, W, C) to float32 (N, classes), the highest for the likeliest class."""
        return self.head.scores(self.vectors.of(images))

    def arrays(self) -> dict[str, Floats]:
        """All that defines it, float32, by names with a dot."""
        arrays = {**self.vectors.arrays(), "head.weights": self.head.weights}
        return {name: np.asarray(values, np.float32) for name, values in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Classifier":
        """What `arrays` gave."""
        return cls(Vectors.from_arrays(arrays), Head(arrays["head.weights"]))


def part_of(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with `name` and a dot, by the rest of their names."""
    return {key[len(name) + 1 :]: values for key, values in arrays.items() if key.startswith(f"{name}.")}


class ClassifierModule(nn.Module):
    """A `Classifier` as a layer, from images in levels of 0..255 (B, C, H, W) to scores (B, classes), on the CPU.

    Args:
        shapes: of the arrays of `Classifier.arrays`, by name; a state dict fills them.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.names = {name.replace(".", "/"): name for name in shapes}  # torch takes no dots
        for place, name in self.names.items():
            self.register_buffer(place, torch.empty(tuple(shapes[name])))
        self._made: Classifier | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self._made is None:
            arrays = {name: self.get_buffer(place).cpu().numpy() for place, name in self.names.items()}
            self._made = Classifier.from_arrays(arrays)
        images = values.permute(0, 2, 3, 1).round().to("cpu", torch.uint8).numpy()
        return torch.from_numpy(self._made.scores(images)).to(values.device)
