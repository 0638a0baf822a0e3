"""Evaluate one method by the standard suite, without DVC: `privpipe evaluate`."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privpipe.attacks.base import Attack
from privpipe.attacks.registry import ATTACKS
from privpipe.errors import PrivpipeError, unknown
from privpipe.files import hide_folder
from privpipe.nn.bundle import save_bundle
from privpipe.owner.leaking import leak
from privpipe.params import CIFAR10_SIZE, Params
from privpipe.perturb import METHODS, Perturbation, perturbation_called
from privpipe.pipeline.code import Sources
from privpipe.pipeline.entries import RUN, data_of, load_runs, make_entry, params_of, size_named, tasks_of
from privpipe.pipeline.fingerprint import WITHOUT
from privpipe.pipeline.grid import Sweep
from privpipe.pipeline.runner import run_sweep
from privpipe.pipeline.steps.download import download
from privpipe.plugins import name_plugin
from privpipe.scores.entry import Entry, save_entry
from privpipe.scores.reference_classifier import train_reference_classifier

BLOCK = 4  # pixels: the block size that published schemes are defined for
IMAGE_SIZE = CIFAR10_SIZE


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated, and on what.

    Args:
        scheme: a registered name, or package.module.Class.
        k, sigma: None: the method's usual size, and no noise.
        settings: that the method has of its own, each as NAME=NUMBER.
        attacks: further ones, by name or as package.module.Class; the result is then none of the suite's.
        source, archive, sha256: of the images, see `privpipe.parameters.Data`.
    """

    scheme: str
    size: str = "smoke"
    k: int | None = None
    scope: str = "dataset"
    sigma: float | None = None
    network: str = "baseline"
    recipe: str = "paper"
    settings: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    source: str = "cifar10"
    archive: str | None = None
    sha256: str | None = None


def evaluate(asked: Asked, folder: Path, workers: int | None = None) -> tuple[Entry, Path]:
    """Measure what is missing of all keys and seeds of a size, and write the record.

    Args:
        folder: keeps images, finished runs and records; what is there is not done again.
        workers: processes side by side; None: one for each processor, or this one on a GPU.

    Returns:
        The record, and its file.

    Raises:
        PrivpipeError: there is no such method, attack, network or size, they do not go together, or a run failed.
    """
    size = size_named(asked.size)
    for attack in asked.attacks:
        attack_named(attack)
    method = method_named(asked.scheme)
    params = params_for(method, asked)
    files = prepare(params, folder)
    name = name_of(params, asked)
    rows = folder / f"{name}.runs.csv"
    runs = tasks_of(name, params, size)
    # A run that is alone stays in this process, which then shows how far it is.
    scheduler = "inline" if 1 in (len(runs), workers) else "auto" if workers is None else "processes"
    sweep = Sweep(recipes=[params.train.recipe], seeds=[0], scheduler=scheduler, workers=workers)
    run_sweep(runs, RUN, files, rows, folder / "scratch", sweep)
    entry = make_entry(load_runs(rows)[name], files["images"], files["public"])
    save_entry(folder / f"{name}.json", entry)
    return entry, folder / f"{name}.json"


def name_of(params: Params, asked: Asked) -> str:
    """Such as "block_scramble-4-dataset-baseline-smoke", of record and runs; with the images, where they are not those
    that are downloaded."""
    perturb = params.perturb
    noise = [f"{perturb.sigma:g}"] if perturb.sigma else []
    noise += asked.settings
    recipe = [asked.recipe] if asked.recipe != "paper" else []
    images = [asked.source] if asked.source != Asked.source else [asked.sha256[:8]] if asked.sha256 else []
    others = [attack.rpartition(".")[2] for attack in asked.attacks]
    return "-".join(
        [perturb.method, str(perturb.k), *noise, perturb.scope, asked.network, *recipe, asked.size, *images, *others]
    )


def method_named(scheme: str) -> type[Perturbation]:
    """The class of a registered name, or of package.module.Class, which other processes then know as well.

    Raises:
        PrivpipeError: there is none, or it releases no images.
    """
    if "." in scheme:
        loaded = name_plugin("privpipe.methods", scheme).load()
        METHODS.look_again()
        scheme = getattr(loaded, "name", scheme)
    if scheme not in METHODS:
        raise PrivpipeError(unknown("the scheme", scheme, [*METHODS, "package.module.Class"]))
    return perturbation_called(scheme)


def attack_named(attack: str) -> type[Attack]:
    """The class of a registered attack, or of package.module.Class; it is then run beside those of the suite.

    Raises:
        PrivpipeError: there is none.
    """
    if "." not in attack:
        if attack not in ATTACKS:
            raise PrivpipeError(unknown("the attack", attack, [*ATTACKS, "package.module.Class"]))
        attack = f"{ATTACKS[attack].__module__}.{ATTACKS[attack].__name__}"
    loaded = name_plugin("privpipe.attacks", attack).load()
    ATTACKS.look_again()
    return ATTACKS[getattr(loaded, "name", attack)]


def params_for(method: type[Perturbation], asked: Asked) -> Params:
    """All parameters of the first run.

    Raises:
        PrivpipeError: what is asked for does not go together.
    """
    size = size_named(asked.size)
    data = data_of(size, asked.source, asked.archive, asked.sha256)
    return params_of(size, data, settings(method, asked), asked.network, asked.recipe)


def settings(method: type[Perturbation], asked: Asked) -> dict[str, Any]:
    """The group `perturb` of the parameters."""
    legal = method.legal_k(IMAGE_SIZE)
    usual = [k for k in (BLOCK, *method.usual_sizes, *(legal or [1])) if legal is None or k in legal]
    k = usual[0] if asked.k is None else asked.k
    common = {"method": method.name, "k": 1 if legal is None else k, "scope": asked.scope, "sigma": asked.sigma or 0.0}
    return common | dict(map(_setting, asked.settings))


def _setting(words: str) -> tuple[str, float]:
    name, _, value = words.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise PrivpipeError(f"a setting is written as NAME=NUMBER; got {words!r}.") from error


def prepare(params: Params, folder: Path) -> dict[str, Path]:
    """The files that all methods share, made where they are missing: images, and the classifier that looks at them.

    They lie in a folder named by what decides them, code included, and are readable by nobody else.

    Raises:
        PrivpipeError: images are missing or damaged.
    """
    budget, machine = params.attack, params.train
    code = Sources(Path(__file__).parents[2])
    made_by = [code.behind(made.__module__, WITHOUT) for made in (download, leak, train_reference_classifier)]
    decided = [params.data.model_dump(), budget.pairs, budget.reference_epochs, budget.seed, machine.threads, made_by]
    place = folder / f"images-{hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]}"
    hide_folder(place)
    files = {name: place / f"{name}.h5" for name in ("images", "public", "leaked")}
    classifier = place / "reference_classifier.safetensors"
    if not (files["images"].exists() and files["public"].exists()):
        download(params.data, None, folder / "raw", str(files["images"]), str(files["public"]))
    if not files["leaked"].exists():
        leak(files["images"], files["leaked"], budget.pairs)
    if not classifier.exists():
        bundle = train_reference_classifier(
            files["images"], budget.reference_epochs, budget.seed, machine.device, machine.threads, classifier
        )
        save_bundle(classifier, bundle)
    return {**files, "reference_classifier": classifier}
