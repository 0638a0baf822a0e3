"""The grid of a sweep: groups of experiments, each the product of the values that it lists.

A group names parameters as `params.yaml` does. A list stands for each of its values in turn, so that

    random_filter:
      perturb:
        method: random_filter
        k: [3, 5, 7]
      key:
        seed: [0, 1, 2, 3, 4]

is 15 experiments, and with `sweep.seeds: [0, 1, 2]` 45. Each is also trained under every recipe of
`sweep.recipes`. What a group does not name is common to all groups; what a recipe names comes before that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.errors import PrivpipeError, unknown
from privpipe.parameters import Group, TorchSeed
from privpipe.params import GROUPS, Params, check_params, load_params

Sections = dict[str, Any]
OWN = ("sweep", "recipes", "groups")
FIXED = ("data",)  # the same for all experiments: the images are made once


class Sweep(Group):
    """How the grid is run."""

    recipes: Annotated[list[Literal["paper", "modern"]], Field(min_length=1)]
    seeds: Annotated[list[TorchSeed], Field(min_length=1)]
    scheduler: str
    workers: Annotated[int, Field(ge=1, le=4096)] | None


@dataclass(frozen=True)
class Task:
    """One experiment: its group and all of its parameters."""

    group: str
    params: Params

    @property
    def name(self) -> str:
        """What tells it from the others of its group, for messages."""
        p = self.params
        return (
            f"{self.group} ({p.train.recipe}, {p.model.arch}, k={p.perturb.k}, key.seed={p.key.seed}, "
            f"train.seed={p.train.seed}, train.lr={p.train.lr}, train.reg={p.train.reg})"
        )


@dataclass(frozen=True)
class Grid:
    """How a sweep is run, and the experiments of each group, in the order of the file."""

    sweep: Sweep
    groups: dict[str, list[Task]]

    def tasks(self, group: str) -> list[Task]:
        """The experiments of a group.

        Raises:
            PrivpipeError: there is no such group.
        """
        if group not in self.groups:
            raise PrivpipeError(unknown("a group of the sweep", group, list(self.groups)))
        return self.groups[group]


def load_grid(path: str | Path, common: str | Path) -> Grid:
    """Read a sweep.

    Args:
        path: `sweep`, `recipes` and `groups`.
        common: parameters as in params.yaml.

    Raises:
        PrivpipeError: a file is missing or no YAML, a name is unknown, or an experiment is impossible.
    """
    shared = load_params(common).model_dump()
    try:
        own = dict(YAML(typ="safe", pure=True).load(Path(path)))
        if "study" in own:
            raise PrivpipeError(f"study in {path} is called sweep now. Rename it, and keep what it holds.")
        if set(own) != set(OWN):
            raise ValueError(f"it has {', '.join(map(str, own))}")
        groups = {str(name): dict(group) for name, group in own["groups"].items()}
        recipes = {str(name): dict(overrides or {}) for name, overrides in own["recipes"].items()}
        sweep = Sweep.model_validate(own["sweep"])
    except ValidationError as error:
        problems = [f"sweep.{'.'.join(map(str, p['loc']))}: {p['msg']}; got {p['input']!r}." for p in error.errors()]
        raise PrivpipeError("\n".join([*problems, f"Repair {path}."])) from error
    except (OSError, YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PrivpipeError(
            f"cannot read a sweep from {path}: {error}. It must hold {', '.join(OWN)}; restore it with git."
        ) from error
    for name, overrides in recipes.items():
        _check_names(f"the sweep's recipe {name}", overrides, {"recipe": "recipes", "seed": "seeds"})
    for name, group in groups.items():
        _check_names(f"the sweep's group {name}", group, {"recipe": "recipes"})
    return Grid(sweep, {name: _tasks(name, group, sweep, recipes, shared) for name, group in groups.items()})


def _check_names(what: str, sections: dict[str, Any], overruled: dict[str, str]) -> None:
    """Refuse what is no group of parameters of a single experiment, and training parameters that `sweep` sets."""
    legal = [section for section in GROUPS if section not in FIXED]
    for section, values in sections.items():
        if section not in legal:
            raise PrivpipeError(unknown(f"a parameter group in {what}", str(section), legal))
        if not isinstance(values, dict):
            raise PrivpipeError(
                f"{section} in {what} must hold parameters; got {values!r}. Write one per line: `name: value`."
            )
        for key in values if section == "train" else ():
            if key in overruled:
                raise PrivpipeError(
                    f"train.{key} in {what} is overruled by sweep.{overruled[key]}. Take it out, and set that."
                )


def _tasks(
    name: str, group: dict[str, Any], sweep: Sweep, recipes: dict[str, Any], common: dict[str, Any]
) -> list[Task]:
    tasks = []
    for recipe in sweep.recipes:
        if recipe not in recipes:
            raise PrivpipeError(f"sweep.recipes names {recipe}, and recipes has no such entry. Add one.")
        for chosen in _product(name, group):
            train = chosen.get("train", {})
            for seed in [train["seed"]] if "seed" in train else sweep.seeds:
                own = {"train": {"recipe": recipe, "seed": seed}}
                merged = _merged(common, recipes[recipe], chosen, own)
                params = check_params(merged, f"group {name}")
                if params.key.seed is None:  # each would draw a key, and its scores another
                    raise PrivpipeError(
                        f"key.seed in the sweep's group {name} must be a number; got null. Nobody could repeat the "
                        "sweep. Use 0, or a list such as [0, 1, 2]."
                    )
                tasks.append(Task(name, params))
    return tasks


def _product(name: str, group: dict[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The parameters of each experiment of a group, without lists."""
    listed = [(section, str(key), value) for section, values in group.items() for key, value in values.items()]
    for section, key, value in listed:
        if value == []:
            raise PrivpipeError(f"{section}.{key} in the sweep's group {name} is an empty list. Put a value into it.")
    for chosen in product(*(value if isinstance(value, list) else [value] for _, _, value in listed)):
        yield _merged(*({section: {key: one}} for (section, key, _), one in zip(listed, chosen, strict=True)))


def _merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Parameters of several layers; the later ones win."""
    out: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            out[section] = {**out.get(section, {}), **values}
    return out
