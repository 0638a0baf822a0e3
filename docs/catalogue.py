"""What the documents say of methods, attacks, networks, scores, stages and parameters, from these themselves.

Some pages hold markers, in whose place Sphinx reads what is written here: docstrings, legal settings, keys, guarantees
and advice, and which attack applies to which method. So no page can fall behind the code. A page without its marker,
and a method or an attack that says nothing of itself, end the build.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from privpipe.attacks.base import Attack
from privpipe.attacks.registry import ATTACKS, SET_ATTACKS
from privpipe.data.synthetic import draw
from privpipe.networks.registry import NETWORKS
from privpipe.params import GROUPS
from privpipe.perturb import PERTURBATIONS, RELEASES, Perturbation, SetRelease
from privpipe.perturb.release import NoisyRelease
from privpipe.report.advice import verdict
from privpipe.report.figures import DEMONSTRATION, displayable
from privpipe.scores.guarantee import guarantee
from privpipe.scores.registry import SCORES
from privpipe.store import PERTURBED, Header

T = TypeVar("T")
SIZE, CHANNELS = 32, 3
SCOPES = ("dataset", "image")
SIGMA = 100.0  # of the methods that add noise, in examples
EPSILON = 1.0  # of releases of a whole set, in examples
MAGNIFIED, MARGIN = 5, 8  # of the figures, in pixels
MARKER = "(`make docs` writes the {} here, from the code.)\n"
DOCS = Path(__file__).parent


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is generated into the pages that ask for it, when Sphinx has read one.

    Raises:
        ExtensionError: a page lacks a marker, or there is nothing to say of a method or an attack.
    """
    figures = Path(app.doctreedir) / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for part, write in PARTS.get(page, {}).items():
        marker = MARKER.format(part)
        if source[0].count(marker) != 1:
            raise ExtensionError(f"docs/{page}.md must hold this line once, where they belong: {marker.strip()}")
        source[0] = source[0].replace(marker, write(figures))


def methods(figures: Path) -> str:
    """A section for each method, in Markdown; its figure is written into the folder `figures`."""
    sections, link = [], os.path.relpath(figures, DOCS)
    for name, kind in own(PERTURBATIONS).items():
        write_figure(kind, figures / f"{name}.png")
        rows = [f"| {title} | {text} |" for title, text in facts(kind)]
        sections += [f"## {name}\n", documented(kind), f"![{name}]({link}/{name}.png)\n", f"{caption(kind)}\n"]
        sections += ["| | |", "|---|---|", *rows, ""]
    for name, release in own(RELEASES).items():
        rows = [f"| {title} | {text} |" for title, text in release_facts(release)]
        sections += [f"## {name}\n", documented(release), "| | |", "|---|---|", *rows, ""]
    return "\n".join(sections)


def facts(kind: type[Perturbation]) -> Iterator[tuple[str, str]]:
    """Rows of the table of a method."""
    for scope in SCOPES if kind.keyed else SCOPES[:1]:
        method = example(kind, scope)
        if scope == SCOPES[0]:
            yield "`perturb.k`", settings(kind)
            yield "`perturb.sigma`", "over 0, in levels of 0..255" if kind.noisy else "not used"
            for name, own_setting in kind.own_settings().items():
                yield (
                    f"`perturb.{name}`",
                    f"{own_setting.meaning}: {own_setting.legal}; {own_setting.default:g} if left out",
                )
            yield "key", key_of(method)
            yield "stored as", stored_as(method)
            yield "with the key" if kind.keyed else "undone", undoing(kind)
        under = f", `scope: {scope}`" if kind.keyed else ""
        promise = guarantee(kind.name, SIZE, CHANNELS, method.k, scope, method.sigma).statement
        yield f"formal guarantee{under}", promise + (f" (Here: sigma {SIGMA:g}.)" if kind.noisy else "")
        header = Header(
            PERTURBED, kind.name, method.k, scope, (), method.image_range, (SIZE, SIZE, CHANNELS), str(method.dtype)
        )
        yield f"advice{under}", verdict(header)[1]
        names = [
            f"[{attack}](attacks.md#{attack})"
            for attack, one in attack_kinds()
            if one.applies(method) and not one.refusal(method)
        ]
        yield f"attacks that apply{under}", ", ".join(names)


def release_facts(kind: type[SetRelease]) -> Iterator[tuple[str, str]]:
    """Rows of the table of a method that releases numbers of a whole set."""
    noisy = issubclass(kind, NoisyRelease)
    release = kind(SIZE, **({"epsilon": EPSILON} if noisy else {}))
    if noisy:
        yield "`perturb.epsilon`", "over 0: the smaller, the less is told of one image"
    for name, one in kind.own_settings().items():
        if name != "epsilon":
            yield f"`perturb.{name}`", f"{one.meaning}: {one.legal}; {one.default:g} if left out"
    yield "`perturb.k`, `perturb.sigma`", "not used"
    if noisy:
        yield "key", "none: nothing is undone; the noise is of the operating system, or of a research key"
    else:
        yield "key", "what is mixed with what, and the signs"
    yield "formal guarantee", release.guarantee + (f" (Here: epsilon {EPSILON:g}.)" if noisy else "")
    yield "advice", release.advice
    if names := attacks_on(kind):
        yield "attacks that apply", ", ".join(f"[{name}](attacks.md#{name})" for name in names)


def settings(kind: type[Perturbation]) -> str:
    """Which `k` is legal."""
    legal = kind.legal_k(SIZE)
    if legal is None:
        return "not used"
    what = "block size" if kind.blocks else "filter size"
    return f"{what}: must {kind.k_rule(SIZE)}; {', '.join(map(str, legal))}"


def key_of(method: Perturbation) -> str:
    """What shape the key of an image has."""
    form = method.key_form(CHANNELS)
    if form is None:
        return "none: anybody knows exactly what was done"
    at = "" if method.legal_k(SIZE) is None else f" for k = {method.k}"
    return f"an array of {' × '.join(map(str, form))} numbers{at} and images of {SIZE}×{SIZE} pixels"


def stored_as(method: Perturbation) -> str:
    """The type of what is uploaded, and what its values mean."""
    if method.features:
        shape = "×".join(map(str, method.output_shape(CHANNELS)))
        return f"{method.dtype}, features {shape} of an image of {SIZE}×{SIZE}×{CHANNELS}; no value is black or white"
    return f"{method.dtype}, black is {method.image_range[0]:g} and white {method.image_range[1]:g}"


def undoing(kind: type[Perturbation]) -> str:
    """What whoever has the key gets back."""
    if kind.undone_by_key:
        return "the images come back, but for rounding"
    if kind.features:
        return "no inverse, and no linear estimate: features are not undone"
    return "no inverse; the best linear estimate restores images (level L3)"


def attacks(_: Path) -> str:
    """What each attack applies to, then a section for each, in Markdown."""
    kinds = attack_kinds()
    cases = [(kind, scope) for kind in own(PERTURBATIONS).values() for scope in (SCOPES if kind.keyed else SCOPES[:1])]
    lines = ["| method | scope | attacks, in the order in which they are tried |", "|---|---|---|"]
    for kind, scope in cases:
        method = example(kind, scope)
        names = ", ".join(
            f"[{name}](#{name})" for name, attack in kinds if attack.applies(method) and not attack.refusal(method)
        )
        lines.append(f"| [{kind.name}](methods.md#{kind.name}) | {scope if kind.keyed else ''} | {names} |")
    for name, release in own(RELEASES).items():
        if on_release := attacks_on(release):
            lines.append(f"| [{name}](methods.md#{name}) |  | {', '.join(f'[{one}](#{one})' for one in on_release)} |")
    for name, attack in kinds:
        lines += ["", f"## {name}\n", documented(type(attack)), f"Levels: {', '.join(attack.levels)}. {role(attack)}"]
    for name, on_sets in own(SET_ATTACKS).items():
        seeks = "It seeks the images of a set, and which of them is where."
        lines += ["", f"## {name}\n", documented(on_sets), f"Levels: {', '.join(on_sets.levels)}. {seeks}"]
    return "\n".join([*lines, ""])


def attacks_on(kind: type[SetRelease]) -> list[str]:
    """The attacks on releases of its form, by name."""
    return [name for name, attack in own(SET_ATTACKS).items() if kind.form in attack.forms]


def role(attack: Attack) -> str:
    """What it seeks, and when it is run."""
    seeks = "It seeks the key, and restores images with it." if attack.seeks_key else "It restores images; no key."
    return f"{seeks} It is costly, and skipped where another attack is sure of the key." if attack.costly else seeks


def attack_kinds() -> list[tuple[str, Attack]]:
    """Every attack of privpipe, in the order in which they are tried."""
    found = [(name, kind()) for name, kind in own(ATTACKS).items()]
    return sorted(found, key=lambda pair: (pair[1].costly, pair[1].order, pair[0]))


def own(registry: Mapping[str, type[T]]) -> dict[str, type[T]]:
    """Those of privpipe, whatever other packages are installed beside it."""
    return {name: kind for name, kind in registry.items() if kind.__module__.startswith("privpipe.")}


def documented(kind: type) -> str:
    """The docstrings of a class and its module as Markdown, without the arguments of its constructor.

    Raises:
        ExtensionError: there is none.
    """
    parts = [sys.modules[kind.__module__].__doc__, kind.__doc__]
    if not all(parts):
        raise ExtensionError(
            f"{kind.__module__}.{kind.__name__} needs a docstring, and its module one: docs show them."
        )
    texts = [re.split(r"^Args:", inspect.cleandoc(part or ""), flags=re.MULTILINE)[0] for part in parts]
    texts[1] = texts[1].removeprefix("See the module.")
    return "\n\n".join(escaped(text.strip()) for text in texts if text.strip()) + "\n"


def escaped(text: str) -> str:
    """Text in which a product such as k*k is no emphasis; code stays as it is."""
    parts = re.split(r"(`[^`]*`|^    .*$)", text, flags=re.MULTILINE)
    return "".join(part if i % 2 else re.sub(r"(?<=\w)\*(?=\w)", r"\\*", part) for i, part in enumerate(parts))


def example(kind: type[Perturbation], scope: str, k: int | None = None) -> Perturbation:
    """The method at a usual setting, with the public demonstration key."""
    usual = kind.usual_sizes[len(kind.usual_sizes) // 2] if kind.usual_sizes else (kind.legal_k(SIZE) or [1])[-1]
    return kind(SIZE, usual if k is None else k, scope, SIGMA if kind.noisy else 0.0, DEMONSTRATION)


def shown(kind: type[Perturbation]) -> list[Perturbation]:
    """What the figure of a method shows besides the image."""
    legal = kind.legal_k(SIZE)
    sizes = [k for k in kind.usual_sizes or (3, 5, 7) if legal and k in legal]
    return [example(kind, "dataset", k) for k in sizes or [1]]


def caption(kind: type[Perturbation]) -> str:
    """What the figure of a method shows, in words."""
    sizes = [str(method.k) for method in shown(kind)] if kind.legal_k(SIZE) else []
    under = f" with k = {', '.join(sizes)}" if sizes else ""
    noise = f"{' and' if sizes else ' with'} sigma = {SIGMA:g}" if kind.noisy else ""
    key = " The key is a public one, made for illustrations." if kind.keyed else ""
    return f"A drawn image, and what {kind.name} makes of it{under}{noise}.{key}"


def write_figure(kind: type[Perturbation], path: Path) -> None:
    """An image that privpipe draws, and what becomes of it, side by side."""
    image = draw(10, SIZE, rng=np.random.default_rng(4)).images[3]
    images = [image, *(displayable(method.apply(image[None])[0], method.image_range) for method in shown(kind))]
    side = SIZE * MAGNIFIED
    sheet = Image.new("RGB", ((side + MARGIN) * len(images) - MARGIN, side), "white")
    for i, one in enumerate(images):
        sheet.paste(Image.fromarray(one).resize((side, side), Image.Resampling.NEAREST), (i * (side + MARGIN), 0))
    sheet.save(path)


def stages(_: Path) -> str:
    """A table of the stages, as dvc.yaml describes them."""
    declared = YAML(typ="safe", pure=True).load(DOCS.parent / "dvc.yaml")["stages"]
    lines = ["| stage | whose: what for | makes |", "|---|---|---|"]
    for name, stage in declared.items():
        outs = [
            out if isinstance(out, str) else next(iter(out))
            for key in ("outs", "metrics")
            for out in stage.get(key, [])
        ]
        lines.append(f"| `{name}` | {stage['desc']} | {', '.join(f'`{out}`' for out in outs)} |")
    return "\n".join([*lines, ""])


def parameters(_: Path) -> str:
    """A table of all parameters: the committed value, what else is legal where that is a few words, and the meaning."""
    committed = YAML(typ="safe", pure=True).load(DOCS.parent / "params.yaml")
    lines = ["| parameter | in `params.yaml` | meaning |", "|---|---|---|"]
    for group, fields in GROUPS.items():
        for name, field in fields.model_fields.items():
            value = json.dumps(committed[group][name]).strip('"')
            words = [f"`{word}`" for word in get_args(field.annotation) if isinstance(word, str)]
            legal = f" ({', '.join(words)})" if words else ""
            lines.append(f"| `{group}.{name}` | `{value}` | {field.description}{legal} |")
    return "\n".join([*lines, ""])


def networks(_: Path) -> str:
    """A table of the networks."""
    lines = ["| `model.arch` | layers |", "|---|---|"]
    for name, kind in own(NETWORKS).items():
        recipe = f" (`{kind.stands_for}` under `train.recipe: modern`)" if kind.stands_for else ""
        lines.append(f"| `{name}`{recipe} | {first_sentences(kind)} |")
    return "\n".join([*lines, ""])


def scores(_: Path) -> str:
    """A table of the scores, in the order of the files that have them."""
    lines = ["| score | what it is | better for the adversary |", "|---|---|---|"]
    for name, kind in sorted(own(SCORES).items(), key=lambda pair: (pair[1].order, pair[0])):
        lines.append(f"| `{name}` | {first_sentences(kind)} | {'higher' if kind.higher_is_better else 'lower'} |")
    return "\n".join([*lines, ""])


def first_sentences(kind: type) -> str:
    """The first paragraph of a class's docstring.

    Raises:
        ExtensionError: there is none.
    """
    if not kind.__doc__:
        raise ExtensionError(f"{kind.__module__}.{kind.__name__} needs a docstring: the documents show it.")
    return escaped(" ".join(inspect.cleandoc(kind.__doc__).partition("\n\n")[0].split())).replace("|", "\\|")


PARTS: dict[str, dict[str, Callable[[Path], str]]] = {
    "methods": {"methods": methods},
    "attacks": {"attacks": attacks, "scores": scores},
    "pipeline": {"stages": stages, "parameters": parameters, "networks": networks},
}
