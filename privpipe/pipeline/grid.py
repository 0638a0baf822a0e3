"""The grid of the study: groups of experiments, each the product of the values that it lists.

A group names parameters as `params.yaml` does. A list stands for each of its values in turn, so that

    random_filter:
      perturb:
        method: random_filter
        k: [3, 5, 7]
      key:
        seed: [0, 1, 2, 3, 4]

is 15 experiments, and with `study.seeds: [0, 1, 2]` 45 models. Every model is also trained under each recipe of
`study.recipes`. What a group does not name is common to all groups; what a recipe names comes before that.
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
from privpipe.params import GROUPS, Group, Params, Seed, check_params, load_params

OWN = ("study", "recipes", "groups")
FIXED = ("data", "study")  # the same for all models: the images are made once


class Study(Group):
    """How the grid is run."""

    recipes: Annotated[list[Literal["paper", "modern"]], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    scheduler: str
    workers: Annotated[int, Field(ge=1, le=4096)] | None


@dataclass(frozen=True)
class Task:
    """One model: its group and all of its parameters."""

    group: str
    params: Params

    @property
    def name(self) -> str:
        """What tells it from the other models of its group, for messages."""
        p = self.params
        return (
            f"{self.group} ({p.train.recipe}, {p.model.arch}, k={p.perturb.k}, key.seed={p.key.seed}, "
            f"train.seed={p.train.seed}, train.lr={p.train.lr}, train.reg={p.train.reg})"
        )


@dataclass(frozen=True)
class Grid:
    """A study: how it is run, and the models of each group, in the order of the file."""

    how: Study
    groups: dict[str, list[Task]]


def load_grid(path: str | Path, common: str | Path) -> Grid:
    """Read a study.

    Args:
        path: `study`, `recipes` and `groups`.
        common: parameters as in params.yaml.

    Raises:
        PrivpipeError: a file is missing or no YAML, a name is unknown, an experiment is impossible, or two models of
            a group are the same.
    """
    shared = load_params(common).model_dump()
    try:
        own = dict(YAML(typ="safe", pure=True).load(Path(path)))
        if set(own) != set(OWN):
            raise ValueError(f"it has {', '.join(map(str, own))}")
        groups = {str(name): dict(group) for name, group in own["groups"].items()}
        recipes = {str(name): dict(overrides or {}) for name, overrides in own["recipes"].items()}
        how = Study.model_validate(own["study"])
    except ValidationError as error:
        problems = [f"study.{'.'.join(map(str, p['loc']))}: {p['msg']}; got {p['input']!r}." for p in error.errors()]
        raise PrivpipeError("\n".join([*problems, f"Repair {path}."])) from error
    except (OSError, YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PrivpipeError(
            f"cannot read a study from {path}: {error}. It must hold {', '.join(OWN)}; restore it with git."
        ) from error
    for name, overrides in recipes.items():
        _check_names(f"the study's recipe {name}", overrides, {"recipe": "recipes", "seed": "seeds"})
    for name, group in groups.items():
        _check_names(f"the study's group {name}", group, {"recipe": "recipes"})
    return Grid(how, {name: _tasks(name, group, how, recipes, shared) for name, group in groups.items()})


def _check_names(what: str, sections: dict[str, Any], overruled: dict[str, str]) -> None:
    """Refuse what is no group of parameters of a single model, and training parameters that `study` sets."""
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
                    f"train.{key} in {what} is overruled by study.{overruled[key]}. Take it out, and set that."
                )


def _tasks(name: str, group: dict[str, Any], how: Study, recipes: dict[str, Any], common: dict[str, Any]) -> list[Task]:
    tasks = []
    for recipe in how.recipes:
        if recipe not in recipes:
            raise PrivpipeError(f"study.recipes names {recipe}, and recipes has no such entry. Add one.")
        for chosen in _product(name, group):
            train = chosen.get("train", {})
            for seed in [train["seed"]] if "seed" in train else how.seeds:
                own = {"train": {"recipe": recipe, "seed": seed}}
                merged = _merged(common, recipes[recipe], chosen, own)
                params = check_params(merged, f"group {name}")
                if params.key.seed is None:  # each model would draw a key, and the descrambler's score another
                    raise PrivpipeError(
                        f"key.seed in the study's group {name} must be a number; got null. Nobody could repeat the "
                        "study. Use 0, or a list such as [0, 1, 2]."
                    )
                tasks.append(Task(name, params))
    seen: list[Params] = []
    for task in tasks:
        if task.params in seen:
            raise PrivpipeError(f"group {name} of the study has a model twice. Take a value out of one of its lists.")
        seen.append(task.params)
    return tasks


def _product(name: str, group: dict[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The parameters of each experiment of a group, without lists."""
    places: list[tuple[str, str]] = []
    choices: list[list[Any]] = []
    for section, values in group.items():
        for key, value in values.items():
            if value == []:
                raise PrivpipeError(
                    f"{section}.{key} in the study's group {name} is an empty list. Put a value into it."
                )
            places.append((section, str(key)))
            choices.append(value if isinstance(value, list) else [value])
    for chosen in product(*choices):
        out: dict[str, dict[str, Any]] = {}
        for (section, key), value in zip(places, chosen, strict=True):
            out.setdefault(section, {})[key] = value
        yield out


def _merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Parameters of several layers; the later ones win."""
    out: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            out[section] = {**out.get(section, {}), **values}
    return out
