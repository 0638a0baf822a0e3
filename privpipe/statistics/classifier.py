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

from privpipe.statistics.heads import Head
from privpipe.statistics.recipe import Recipe
from privpipe.statistics.values import Floats, Images

Arrays = Mapping[str, NDArray[Any]]
HEAD = "head.weights"


@dataclass(frozen=True)
class Classifier:
    """Vectors of images, and the head on them."""

    recipe: Recipe
    head: Head

    def scores(self, images: Images) -> Floats:
        """uint8 (N, H, W, C) to float32 (N, classes), the highest for the likeliest class."""
        return self.head.scores(self.recipe.vectors(images))

    def arrays(self) -> dict[str, Floats]:
        """All that defines it, float32, by name."""
        arrays = {**self.recipe.arrays(), HEAD: self.head.weights}
        return {name: np.asarray(values, np.float32) for name, values in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Classifier":
        """What `arrays` gave."""
        return cls(
            Recipe.from_arrays({name: values for name, values in arrays.items() if name != HEAD}), Head(arrays[HEAD])
        )


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
