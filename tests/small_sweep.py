"""A sweep over small images, whose experiments take a fraction of a second each, for the tests of how it is run."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.pipeline.grid import Sweep, Task, load_grid

ROOT = Path(__file__).parents[1]
SIZE = 16
SECONDS = 120  # that a process may take to do what it should, on a busy machine


def write_small_images(path: Path, train: int = 60, seed: int = 0) -> Path:
    """Raw images: `train` to train, 20 to validate and 20 to test."""
    part = draw(train + 20, SIZE, rng=np.random.default_rng(seed))
    test = draw(20, SIZE, rng=np.random.default_rng(seed + 1000))
    rows = {"train": np.arange(train), "val": np.arange(train, train + 20), "test": np.arange(20)}
    write_images(path, part, test, rows)
    return path


def write_sweep(
    folder: Path,
    groups: dict[str, Any],
    *,
    sweep: dict[str, Any] | None = None,
    recipes: dict[str, Any] | None = None,
    common: dict[str, Any] | None = None,
) -> tuple[Path, Path]:
    """The parameter files of a sweep, params.yaml and common.yaml.

    Args:
        groups, recipes: as in params.yaml; by default there is one recipe, `paper`, that changes nothing.
        sweep, common: what differs from one training seed, inline, and from the committed common.yaml in small.
    """
    shared = YAML(typ="safe", pure=True).load(ROOT / "studies" / "paper" / "common.yaml")
    shared["data"] |= {"source": "synthetic", "image_size": SIZE, "n_train": 60, "n_val": 20, "n_test": 20}
    shared["train"] |= {"epochs": 1, "batch_size": 20}
    for section, values in (common or {}).items():
        shared[section] |= values
    how = {"recipes": ["paper"], "seeds": [0], "scheduler": "inline", "workers": None} | (sweep or {})
    own = {"sweep": how, "recipes": recipes or {"paper": None}, "groups": groups}
    folder.mkdir(exist_ok=True)
    for name, values in (("params.yaml", own), ("common.yaml", shared)):
        YAML().dump(values, folder / name)
    return folder / "params.yaml", folder / "common.yaml"


def models(folder: Path, group: dict[str, Any], **sweep: Any) -> list[Task]:
    """The models of a group named `small`."""
    return load_grid(*write_sweep(folder, {"small": group}, sweep=sweep)).groups["small"]


def how(scheduler: str = "inline", workers: int | None = None) -> Sweep:
    """How a group is run."""
    return Sweep(recipes=["paper"], seeds=[0], scheduler=scheduler, workers=workers)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a group's table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(path: Path) -> list[dict[str, str]]:
    """The rows of a group's table without what differs from run to run."""
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in table(path)]
