"""`reports/index.html`: one self-contained page that a person can open from disk; and `times.html` beside it.

The same experiment gives the same `index.html`, byte for byte. Measured times differ from run to run: they have a page
of their own.
"""

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.params import Params
from privpipe.perturb.release import SetRelease
from privpipe.released import is_release, load_released
from privpipe.report import figures
from privpipe.report.advice import findings
from privpipe.report.display import displayable
from privpipe.report.privacy_figures import tradeoff
from privpipe.salt import salt_from, salted_html
from privpipe.scores.guarantee import guarantee
from privpipe.scores.privacy import BASELINES
from privpipe.scores.registry import scores_in
from privpipe.scores.set_release import release_of
from privpipe.store import PERTURBED, RAW, open_store

METRICS = ("perturb", "train", "evaluate", "descrambler", "privacy")
NAMES = dict.fromkeys(("class", "actual", "predicted"), str)  # a class may be called 007, or NA
EMPTY = {name: [""] for name in ("accuracy", "confidence", "blocks_recovered")}  # columns with missing numbers
LEVELS = {level: level.upper() for level in ("l0", "l1", "l2", "l3")}
SURVEY = "survey.csv"  # in the folder of metrics, where a survey was made
FIGURES = ("examples", "method", "training", "confusion", "descrambler")  # each a file


@dataclass(frozen=True)
class Inputs:
    """Everything a report is made of.

    Args:
        images, perturbed: HDF5 files (see `privpipe.store`); `perturbed` may be a release (see `privpipe.released`).
        summary: what came of the images (see `privpipe.data.summary`), JSON.
        metrics: folder with the JSON file of each of `METRICS`, times/train.json, times/attack.json, and perhaps
            `SURVEY`, the survey's table of points.
        plots: folder with training.csv, confusion.csv, classes.csv, descrambler.csv, privacy.csv,
            cost_in_images.csv, cost_in_pairs.csv, times.csv and reconstructions.png.
    """

    images: Path
    perturbed: Path
    summary: Path
    metrics: Path
    plots: Path
    params: Params

    def metric(self, name: str) -> dict[str, Any]:
        return self._json(self.metrics / f"{name}.json")

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PrivpipeError(f"cannot read {path}: {error}. Make it again with `dvc repro`.") from error
        return values

    @cached_property
    def release(self) -> SetRelease | None:
        """The method, where it released numbers of the whole set; None where it released images."""
        return release_of(load_released(self.perturbed).about) if is_release(self.perturbed) else None

    def about_images(self) -> dict[str, Any]:
        """What was not taken, duplicates, and what the split guarantees."""
        return self._json(self.summary)

    def table(self, name: str) -> pd.DataFrame:
        path = self.plots / f"{name}.csv"
        try:
            return pd.read_csv(path, dtype=NAMES, keep_default_na=False, na_values=EMPTY)
        except (OSError, ValueError) as error:
            raise PrivpipeError(f"cannot read {path}: {error}. Make it again with `dvc repro`.") from error


def draw_examples(inputs: Inputs) -> Figure:
    """The example figure: one car of the test images, or the first image where there is no car."""
    if inputs.release is not None:
        return figures.note(f"{inputs.release.name} releases no images: there is none to show", (8, 1))
    with open_store(inputs.images, RAW) as raw, open_store(inputs.perturbed, PERTURBED) as store:
        header, row = store.header, figures.example_row(raw)
        original = displayable(raw.rows("test", row, row + 1)[0], raw.header.image_range)
        perturbed = displayable(store.rows("test", row, row + 1)[0], header.image_range)
    settings = inputs.params.perturb
    title = header.method if header.method == "none" else f"{header.method}\nk = {header.k}, scope {header.scope}"
    others = figures.paper_examples(original, header.method, header.k, header.scope, settings.sigma, settings.own)
    return figures.examples(original, (title, perturbed), others)


def draw_figures(inputs: Inputs, paths: dict[str, Path]) -> None:
    """Draw every one of `FIGURES` to its path, PNG."""
    params, settings = inputs.params, inputs.params.perturb
    classes = inputs.table("classes")
    pairs = inputs.table("confusion")
    fractions = pd.crosstab(pairs["actual"], pairs["predicted"], normalize="index")
    order = list(classes["class"])
    reason = inputs.metric("descrambler")["not_measured"]
    drawn = {
        "examples": draw_examples(inputs),
        "method": figures.figure_of(inputs.release.drawing())
        if inputs.release is not None
        else figures.method_figure(
            settings.method, params.data.image_size, settings.k, settings.scope, settings.sigma, settings.own
        ),
        "training": figures.training_curves(inputs.table("training"), 1 / len(classes)),
        "confusion": figures.confusion(fractions.reindex(index=order, columns=order, fill_value=0.0)),
        "descrambler": figures.descrambler_histogram(inputs.table("descrambler"), reason),
    }
    salt = salt_from(inputs.images, RAW, "examples figure")
    for name in FIGURES:
        # The others show nothing of the images.
        figures.save(drawn[name], paths[name], salt=salt if name == "examples" else "")


def draw_tradeoff(inputs: Inputs) -> Figure | None:
    """The trade-off of the survey with this experiment in it; None where there is no survey."""
    path = inputs.metrics / SURVEY
    try:
        return tradeoff(pd.read_csv(path), _this_experiment(inputs))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise PrivpipeError(f"cannot read {path}: {error}. Make it again, or remove it.") from error


def _this_experiment(inputs: Inputs) -> dict[str, float] | None:
    """Its place in the trade-off; None for other images than the survey's, and where no image was released."""
    if inputs.params.data.source != "cifar10" or inputs.release is not None:
        return None
    privacy = inputs.metric("privacy")
    place = {f"{level}_privacy": 1 - min(1.0, privacy[f"{level}_ssim"] or 0.0) for level in ("l0", "l1", "l2")}
    return place | {"test_accuracy": inputs.metric("evaluate")["test_accuracy"]}


def _guarantee(inputs: Inputs) -> str:
    """What holds against every adversary, with the key of this experiment."""
    settings, research = inputs.params.perturb, inputs.params.key.seed is not None
    if inputs.release is not None:
        guaranteed, statement = True, inputs.release.guarantee
    else:
        with open_store(inputs.perturbed, PERTURBED) as store:
            size, _, channels = store.header.original_shape
        given = (settings.method, size, channels, settings.k, settings.scope, settings.sigma)
        promised = guarantee(*given, settings=settings.own)
        guaranteed, statement = promised.epsilon_pixel is not None, promised.statement
    if guaranteed and research:
        return f"Nothing, for this research key can be made again by anybody. With a secret one: {statement}"
    return statement


def write_page(inputs: Inputs, paths: dict[str, Path], target: Path) -> None:
    """Write the page with the figures embedded: no other file and no network is needed to show it."""
    privacy = inputs.metric("privacy")
    measured = scores_in(privacy)
    columns = {**LEVELS, **BASELINES, "chance": "chance"}
    images = {name: path.read_bytes() for name, path in paths.items()}
    images["reconstructions"] = (inputs.plots / "reconstructions.png").read_bytes()
    if (survey := draw_tradeoff(inputs)) is not None:
        images["tradeoff"] = figures.drawn(survey)
    page = _template("page.html.j2").render(
        params=inputs.params,
        guarantee=_guarantee(inputs),
        release=inputs.release,
        about=inputs.about_images(),
        findings=findings(privacy),
        marks=[score.mark for score in reversed(measured) if score.mark],
        columns=columns,
        levels=LEVELS,
        rows={score.label: [score.shown(privacy.get(f"{at}_{score.name}")) for at in columns] for score in measured},
        notes=[score.note(privacy) for score in measured],
        cost=[row for name in ("cost_in_images", "cost_in_pairs") for row in inputs.table(name).to_dict("records")],
        problems=[row for row in inputs.table("privacy").to_dict("records") if row["problem"]],
        groups=inputs.params.model_dump(),
        classes=inputs.table("classes").to_dict("records"),
        figures={name: base64.b64encode(image).decode() for name, image in images.items()},
        **{name: inputs.metric(name) for name in METRICS},
    )
    write_text(target, salted_html(page, salt_from(inputs.images, RAW, "page")))


def write_times(inputs: Inputs, target: Path) -> None:
    """Write the page of how long training and every attack took; nothing of it follows from images or key."""
    page = _template("times.html.j2").render(
        device=inputs.metric("train")["device"],
        train=inputs.metric("times/train"),
        attack=inputs.metric("times/attack"),
        rows=inputs.table("times").to_dict("records"),
    )
    write_text(target, page)


def _template(name: str) -> Template:
    loader = PackageLoader("privpipe.report", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)
