"""The points of the survey: one perturbation each, and what is common to all."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.errors import PrivpipeError, unknown
from privpipe.params import Params, check_params


def load_points(path: str | Path) -> dict[str, dict[str, Any]]:
    """The points of a file by name, each with the parameters `method`, `k`, `scope` and `sigma` of `perturb`.

    Raises:
        PrivpipeError: the file is missing, no YAML, or holds no points.
    """
    try:
        points = YAML(typ="safe", pure=True).load(Path(path))["points"]
        return {str(name): dict(point) for name, point in points.items()}
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PrivpipeError(f"cannot read points from {path}: {error}. Restore studies/survey/points.yaml.") from error


def load_point(params_file: str | Path, points_file: str | Path, name: str) -> Params:
    """The parameters of one point: those common to all, with its own perturbation.

    Raises:
        PrivpipeError: a file cannot be read, there is no such point, or its parameters are impossible.
    """
    points = load_points(points_file)
    if name not in points:
        raise PrivpipeError(unknown("a point of the survey", name, list(points)))
    try:
        common = dict(YAML(typ="safe", pure=True).load(Path(params_file)))
    except (OSError, YAMLError, TypeError, ValueError) as error:
        raise PrivpipeError(f"cannot read {params_file}: {error}. Restore studies/survey/common.yaml.") from error
    return check_params(common | {"perturb": points[name]}, f"{params_file} with point {name}")
