"""A small experiment in a folder of its own, and how its files are written."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from privpipe.nn.bundle import Bundle
from privpipe.owner.key import Key
from privpipe.parameters import Perturb

SIZE = 8


@dataclass(frozen=True)
class Experiment:
    """Files of an experiment in one folder; `images/` holds its test images as PNG files in order."""

    folder: Path
    key: Key
    settings: Perturb
    images: NDArray[np.uint8]  # of the test split, (4, 8, 8, 3)
    bundle: Bundle

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def image_paths(self) -> list[Path]:
        return sorted((self.folder / "images").iterdir())


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())


def write_params(path: Path, settings: Perturb) -> None:
    yaml = YAML()
    params = yaml.load(Path(__file__).parents[1] / "params.yaml")
    params["data"] |= {"source": "synthetic", "image_size": SIZE}
    params["perturb"] |= settings.model_dump()
    params["model"]["arch"] = "baseline"
    yaml.dump(params, path)
