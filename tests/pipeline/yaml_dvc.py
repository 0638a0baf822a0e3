"""What dvc.yaml declares, for the tests."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CODE = "code"  # the stage that notes what the code of the others does


def stages(folder: Path) -> dict[str, dict[str, Any]]:
    """The stages of a project by name."""
    return YAML(typ="safe", pure=True).load(folder / "dvc.yaml")["stages"]


def commands(folder: Path) -> dict[str, str]:
    """The command of each stage."""
    return {name: stage["cmd"] for name, stage in stages(folder).items()}


def outputs(folder: Path) -> list[str]:
    """The paths of all outputs and metrics, but for the digests of code."""
    found = [stage for name, stage in stages(folder).items() if name != CODE]
    entries = [entry for stage in found for kind in ("outs", "metrics") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def is_times(path: str) -> bool:
    """Whether an output holds measured times, which no two runs share, such as `plots/times.csv`."""
    return "times" in path


def paths(stage: dict[str, Any]) -> list[str]:
    """The data paths of a stage: dependencies that are no code, outputs and metrics."""
    entries = [entry for kind in ("deps", "outs", "metrics") for entry in stage.get(kind, [])]
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return [name for name in names if not name.startswith(".code/")]
