"""The parameters of an experiment as a whole: read from a file, checked against each other, refused with a remedy.

`load_params` reads `params.yaml` and refuses what is unknown, of the wrong type or impossible, before any
work is done. Each message says what was given, what is allowed and what to do. Each parameter by itself is described in
`privpipe.parameters`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.errors import PrivpipeError, unknown
from privpipe.networks.registry import network_for
from privpipe.parameters import Attack, Data, Group, Key, Model, Perturb, Train
from privpipe.perturb import METHODS, PERTURBATIONS, RELEASES
from privpipe.perturb.release import NoisyRelease, SetRelease
from privpipe.reading import AUTO, COMPOSITE, MAX_CHANNELS, Reading

CIFAR10_TRAIN, CIFAR10_TEST, CIFAR10_SIZE = 50_000, 10_000, 32
SYNTHETIC_LARGEST = 256  # pixels
CLASSES = 10  # of CIFAR-10 and of the synthetic set


class Params(Group):
    """All parameters of one experiment, consistent with each other."""

    data: Data
    key: Key
    perturb: Perturb
    model: Model
    train: Train
    attack: Attack

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        problems = [*_data_problems(self.data), *_experiment_problems(self)]
        if problems:
            raise PrivpipeError("\n".join(problems))
        return self


Rule = Callable[[Data], str | None]  # why the data are impossible, with the remedy; None where they are not


def _data_problems(data: Data) -> list[str]:
    if not 0 <= data.public_fraction <= 0.5 or data.public == "":  # also NaN; the other rules count with it
        return [
            "data.public must be a fraction of the training part from 0 to 0.5, or the path of a folder of images; got "
            f"{data.public!r}. Use 0.1, for example."
        ]
    rules = (_archive_problem, _channels_problem, *DATA_RULES[data.source])
    return [problem for rule in rules if (problem := rule(data)) is not None]


def _channels_problem(data: Data) -> str | None:
    channels = data.reading.channels
    words = {AUTO, COMPOSITE} & set(channels)
    if 1 <= len(channels) <= MAX_CHANNELS and len(set(channels)) == len(channels) and not (words and len(channels) > 1):
        return None
    return (
        f"data.channels must be auto, composite, or 1 to {MAX_CHANNELS} different channels by number (from 1 on) or "
        f"name; got {data.channels!r}. Use [1, 2], for example."
    )


def _groups_problem(data: Data) -> str | None:
    if data.groups is None:
        return None
    return f"data.groups is for data.source=folder; got {data.groups!r} with data.source={data.source}. Set it to null."


def _reading_problem(data: Data) -> str | None:
    if data.reading == Reading():
        return None
    return (
        f"data.channels, data.stack and data.range are for data.source=folder; got {data.channels!r}, {data.stack} and "
        f"{data.range} with data.source={data.source}. Leave them at auto, refuse and declared."
    )


def _archive_problem(data: Data) -> str | None:
    if data.archive is None or data.sha256 is not None:
        return None
    return (
        f"data.sha256 is required with data.archive={data.archive}; got null. It guards the unpickling: "
        "run `sha256sum ARCHIVE` and set data.sha256 to the result."
    )


def _cifar10_size_problem(data: Data) -> str | None:
    if data.image_size == CIFAR10_SIZE:
        return None
    return (
        f"data.image_size must be {CIFAR10_SIZE} for data.source=cifar10; got {data.image_size}. "
        f"Set data.image_size={CIFAR10_SIZE}."
    )


def _cifar10_training_problem(data: Data) -> str | None:
    public = CLASSES * int(CIFAR10_TRAIN / CLASSES * data.public_fraction)
    owned = CIFAR10_TRAIN - public
    if data.n_val > owned - CLASSES:
        return (
            f"data.n_val must leave data.n_train at least {CLASSES} of the {owned:,} images in the training part "
            f"of CIFAR-10 that are not public; got {data.n_val}. Use {owned - CLASSES} or less."
        )
    if (data.n_train or 0) + data.n_val > owned:
        return (
            f"data.n_train + data.n_val must be at most {owned:,}, the training part of CIFAR-10 without the "
            f"{public:,} public images; got {data.n_train} + {data.n_val}. Use data.n_train <= "
            f"{owned - data.n_val}, null for all, or a smaller data.public."
        )
    return None


def _cifar10_test_problem(data: Data) -> str | None:
    if data.n_test is None or data.n_test <= CIFAR10_TEST:
        return None
    return (
        f"data.n_test must be at most {CIFAR10_TEST:,}, the test part of CIFAR-10; got {data.n_test}. Use null for all."
    )


def _multiple_problem(data: Data) -> str | None:
    if data.image_size % 8 == 0:
        return None
    return (
        f"data.image_size must be a multiple of 8 for data.source={data.source}; got {data.image_size}. "
        f"Use {data.image_size // 8 * 8}."
    )


def _synthetic_size_problem(data: Data) -> str | None:
    if data.image_size <= SYNTHETIC_LARGEST or data.image_size % 8:
        return None
    return (
        f"data.image_size must be at most {SYNTHETIC_LARGEST} for data.source=synthetic; got {data.image_size}. "
        f"Use {SYNTHETIC_LARGEST} or less."
    )


def _path_problem(data: Data) -> str | None:
    if data.path:
        return None
    return (
        f"data.path is required with data.source=folder; got {data.path!r}. Set it to a folder with one "
        "sub-folder of images per class."
    )


def _classes_problem(name: str) -> Rule:
    def problem(data: Data) -> str | None:
        count = getattr(data, name)
        if count is None or count >= CLASSES:
            return None
        return f"data.{name} must hold each of the {CLASSES} classes; got {count}. Use {CLASSES} or more."

    return problem


NO_FOLDER = (*map(_classes_problem, ("n_train", "n_val", "n_test")), _groups_problem, _reading_problem)
# By `data.source`. How many classes a folder has, only the folder tells.
DATA_RULES: dict[str, tuple[Rule, ...]] = {
    "cifar10": (_cifar10_size_problem, _cifar10_training_problem, _cifar10_test_problem, *NO_FOLDER),
    "synthetic": (_multiple_problem, _synthetic_size_problem, *NO_FOLDER),
    "folder": (_multiple_problem, _path_problem),
}


def _experiment_problems(params: Params) -> list[str]:
    """What the method and the network ask, as they say themselves."""
    perturb, model, size = params.perturb, params.model, params.data.image_size
    if perturb.method not in METHODS:
        return [unknown("perturb.method", perturb.method, list(METHODS))]
    known = {*Perturb.model_fields, *(name for other in METHODS.values() for name in other.own_settings())}
    names = [name for name in perturb.model_extra or {} if name not in known]
    strange = [_renamed(f"perturb.{name}") or unknown("a parameter of perturb", name, sorted(known)) for name in names]
    unguaranteed = _without_guarantee(perturb, params.key.budget)
    release = RELEASES.get(perturb.method)
    if release is not None:
        problems = release.setting_problems(perturb.scope, perturb.sigma, perturb.own)
        public_problems = [] if problems else [*_of_public(params, release), *_of_others(params, release)]
        network_problems = _of_trained(params) if release.trained else []
        return [*strange, *problems, *public_problems, *unguaranteed, *network_problems]
    kind = PERTURBATIONS[perturb.method]
    if own_problems := kind.own_problems(perturb.own):  # the method cannot be made with them
        return [*strange, *own_problems, *unguaranteed]
    network = network_for(model.arch, params.train.recipe)()
    method = kind(size, perturb.k, perturb.scope, perturb.sigma, **perturb.own)
    return [
        *strange,
        *kind.setting_problems(size, perturb.k, perturb.sigma, perturb.own),
        *unguaranteed,
        *network.experiment_problems(method, model.descrambler),
    ]


def _of_public(params: Params, release: type[SetRelease]) -> list[str]:
    """What a release asks of the public images: that there are some, and that it may show them."""
    data, method = params.data, params.perturb.method
    if isinstance(data.public, str):
        return []
    if not data.public and release.needs_public(params.perturb.own):
        return [
            f"data.public must be above 0 for perturb.method={method}, which needs public images; got {data.public:g}. "
            "Set a fraction such as 0.1, or a folder of images that everybody may see."
        ]
    if data.public and release.shows_public and data.source == "folder" and params.key.seed is None:
        return [
            f"data.public must be a folder of images that everybody may see for perturb.method={method} with a real "
            f"key: patches of the public images are released as they are, and data.public={data.public:g} takes these "
            "from your own. Name a folder, or set key.seed=0 to measure without releasing."
        ]
    return []


def _of_others(params: Params, release: type[SetRelease]) -> list[str]:
    """A bound on what one image contributes holds only where it changes nothing of the others."""
    data, problems = params.data, []
    if data.source != "folder" or params.key.seed is not None or not issubclass(release, NoisyRelease):
        return []
    asked = f"for perturb.method={params.perturb.method} with a real key"
    if data.range == "set":
        problems.append(
            f"data.range must be declared, type or image {asked}: black and white of the whole set change all images "
            "with one, and are released as they are; got set. Set data.range=image, for example."
        )
    if data.on_duplicates == "drop":
        problems.append(
            f"data.on_duplicates must be warn, stop or ignore {asked}: one image may be why others are left out; got "
            "drop. Set data.on_duplicates=stop, and remove what it names."
        )
    return problems


def _of_trained(params: Params) -> list[str]:
    """What a release that a network is trained on asks of the network."""
    network, size = network_for(params.model.arch, params.train.recipe)(), params.data.image_size
    if network.block_size(size, 1) != network.block_size(size, 4):
        return [
            f"model.arch={params.model.arch} treats blocks apart, and perturb.method={params.perturb.method} has none. "
            "Set model.arch=baseline, for example."
        ]
    method = PERTURBATIONS["none"](size)
    return network.experiment_problems(method, params.model.descrambler)


def _without_guarantee(perturb: Perturb, budget: float | None) -> list[str]:
    """Parameters that ask for a guarantee which the method does not give: they are not ignored."""
    problems = []
    guaranteed = [name for name, kind in METHODS.items() if "epsilon" in kind.own_settings()]
    if perturb.epsilon is not None and perturb.method not in guaranteed:
        problems.append(
            f"perturb.epsilon is for methods that guarantee one ({', '.join(guaranteed)}); got {perturb.epsilon:g} "
            f"with perturb.method={perturb.method}. Set perturb.epsilon=null, or use one of these."
        )
    bounded = [name for name in RELEASES if name in guaranteed]
    if budget is not None and perturb.method not in bounded:
        problems.append(
            f"key.budget is for releases of a whole set ({', '.join(bounded)}); got {budget:g} with "
            f"perturb.method={perturb.method}, whose images no budget bounds. Set key.budget=null."
        )
    return problems


def load_params(path: str | Path) -> Params:
    """Read and check a parameter file, YAML 1.2 as DVC reads it.

    Raises:
        PrivpipeError: the file is missing or no YAML, or a parameter is unknown, of the wrong type or impossible.
    """
    try:
        values = YAML(typ="safe", pure=True).load(Path(path))
    except OSError as error:
        raise PrivpipeError(f"cannot read {path}: {error.strerror}. Run from the folder that holds it.") from error
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date or number
        raise PrivpipeError(f"{path} is no valid YAML: {error}. Repair it, or run `git checkout {path}`.") from error
    return check_params(values, str(path))


def check_params(values: Any, origin: str = "params") -> Params:
    """Check nested dictionaries of parameters; `origin` names their source in messages.

    Raises:
        PrivpipeError: see `load_params`.
    """
    if not isinstance(values, dict):
        raise PrivpipeError(f"{origin} must hold the groups {', '.join(GROUPS)}; got {type(values).__name__}.")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = [_explain(dict(problem)) for problem in error.errors()]
        raise PrivpipeError("\n".join(problems)) from error


def _explain(problem: dict[str, Any]) -> str:
    """One validation error in our words: what was given, what is legal, what to do."""
    group, *rest = (str(part) for part in problem["loc"][:2])
    name, given = ".".join([group, *rest]), problem["input"]
    fields = GROUPS[group].model_fields if group in GROUPS else {}
    match problem["type"]:
        case "extra_forbidden":
            if renamed := _renamed(name):
                return renamed
            legal = list(fields) if rest else list(GROUPS)
            return unknown(f"a parameter of {group}" if rest else "a parameter", (rest or [group])[-1], legal)
        case "missing":
            return f"{name} is missing. Add it to the parameter file; the committed params.yaml shows every name."
        case "literal_error":
            legal = [word.strip("'") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return unknown(name, str(given), legal)
        case "unknown_network":
            return unknown(name, str(given), problem["ctx"]["legal"])
        case "model_type":
            return f"{name} must hold {', '.join(fields)}; got {given!r}. Write one per line, indented: `name: value`."
        case "string_type":
            return f"{name} must be text; got {given!r}. Put it in quotes."
        case "string_pattern_mismatch":
            return f"{name} must be 64 hexadecimal digits; got {given!r}. Run `sha256sum ARCHIVE` and copy its result."
    meaning = f" ({fields[rest[0]].description})" if rest else ""
    hint = " Write a plain number without quotes, such as 8 or 0.001." if isinstance(given, str) else ""
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{name}{meaning}: {message}; got {given!r}.{hint}"


# Parameters of earlier versions: an old name is refused with the new one.
RENAMED = {"attack.recogniser_epochs": "attack.reference_epochs", "perturb.budget": "key.budget"}


def _renamed(name: str) -> str:
    """What to do about a parameter of an earlier version; empty for any other name."""
    now = RENAMED.get(name)
    return f"{name} is called {now} now. Rename it, and keep its value; CHANGELOG.md says why." if now else ""


GROUPS: dict[str, type[Group]] = {
    **{"data": Data, "key": Key, "perturb": Perturb},
    **{"model": Model, "train": Train, "attack": Attack},
}
