"""Points of the survey, against an earlier build: `python -m benchmarks --only survey --images path/to/archive`."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.against import checked_out
from benchmarks.child import ROOT
from benchmarks.project import environment, run
from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.setting import Setting
from benchmarks.timing import Spread, clocked
from benchmarks.topics.builds import REVISION
from benchmarks.topics.first_page import outside
from privpipe.released import sha256_of

TITLE = "The survey"
# A third of them find the key and train no network, as of all points.
POINTS: dict[str, dict[str, Any]] = {
    "gaussian_blur-5": {"method": "gaussian_blur", "k": 5},
    "pixelate-4": {"method": "pixelate", "k": 4},
    "random_filter-5-dataset": {"method": "random_filter", "k": 5},
    "block_scramble-4-dataset": {"method": "block_scramble", "k": 4},
    "block_scramble-8-image": {"method": "block_scramble", "k": 8, "scope": "image"},
    "gaussian_noise-100-image": {"method": "gaussian_noise", "scope": "image", "sigma": 100},
}
ABOUT = f"""
{len(POINTS)} of its 32 points, at their full size: perturb, train 5 epochs on 10,000 images, evaluate, attack, score.
Each build runs them as its own survey does: this one by two worker processes of one thread, in bfloat16; {REVISION} one
after the other, each in a process of its own with one thread, in float32. The images, the leaked pairs and the
classifier of raw images are made before and not counted, nor is DVC. {REVISION} has the packages that it pinned.
Filters with a key for each image are not among the points: this build runs an attack on them that the other does not
have.
"""
WANTED = 3.0
PARTS = {"method": "none", "k": 1, "scope": "dataset", "sigma": 0}
SMALL = {"n_train": 200, "n_val": 50, "n_test": 100, "public": 0.3}


def measure(setting: Setting) -> Outcome:
    points = dict(list(POINTS.items())[: setting.pick(len(POINTS), 2)])
    spent: dict[str, tuple[float, float]] = {}
    with checked_out(REVISION) as tree:
        for name, survey in (("this", This(setting, ROOT)), (REVISION, Earlier(setting, tree))):
            setting.tell(f"images, pairs and classifier of {name}")
            survey.prepare()
            setting.tell(f"{len(points)} points of {name}")
            spent[name] = clocked(partial(survey.run, points))
    rows: list[list[Cell]] = [[name, wall, cpu] for name, (wall, cpu) in spent.items()]
    ratios = [slow / fast for fast, slow in zip(spent["this"], spent[REVISION], strict=True)]
    rows.append(["ratio", *ratios])
    target = Target(
        "survey",
        f"{len(points)} points of the survey: against {REVISION}, wall-clock time",
        "x",
        Spread.of(ratios[:1]),
        at_least=WANTED,
        bound="" if ratios[0] >= WANTED else f"of CPU time it is {ratios[1]:.2f}x",
    )
    columns = ["", "wall-clock time, s", "CPU time, s"]
    return Outcome([target], [Table("All points, one round", columns, rows)])


class This:
    """The survey of this build, in files of its own.

    Args:
        root: of the build.
    """

    common, classifier = "studies/survey/common.yaml", "reference_classifier"

    def __init__(self, setting: Setting, root: Path):
        self.setting, self.root = setting, root
        self.folder = setting.folder(f"survey-{type(self).__name__}")
        self.settings = self.folder / "common.yaml"
        self.interpreter = sys.executable

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def python(self, module: str, **options: str | Path) -> None:
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        own = environment() | {"PYTHONPATH": str(self.root)}
        run(self.root, self.interpreter, "-m", module, *words, env=own)

    def prepare(self) -> None:
        """What all points share."""
        common = YAML(typ="safe").load(self.root / self.common)
        source = self.setting.source
        if source is None:
            common["data"]["source"] = "synthetic"
        else:
            common["data"] |= {"archive": str(source.absolute()), "sha256": sha256_of(source)}
        if self.setting.quick:
            common["data"] |= SMALL
            common["attack"] |= {"targets": 50, "pairs": 20}
        YAML().dump(common, self.settings)
        files = {name: self.file(f"{name}.h5") for name in ("images", "public", "leaked")}
        shared = {"params": self.settings, "images": files["images"]}
        self.python("stages.download", **shared, folder=self.file("raw"), public=files["public"])
        self.python("stages.leak", **shared, leaked=files["leaked"])
        self.python(f"stages.{self.classifier}", **shared, model=self.file("classifier.safetensors"))
        self.inputs = files | {self.classifier: self.file("classifier.safetensors")}

    def run(self, points: dict[str, dict[str, Any]]) -> None:
        """Measure the points."""
        grid = {
            "sweep": {"recipes": ["paper"], "seeds": [0], "scheduler": "processes", "workers": 2},
            "recipes": {"paper": {}},
            "groups": {name: {"perturb": PARTS | values} for name, values in points.items()},
        }
        YAML().dump(grid, self.folder / "params.yaml")
        given = {"grid": self.file("params.yaml"), "common": self.settings, "scratch": self.file("scratch")}
        self.python("studies.survey.points", **given, rows=self.file("points.csv"), **self.inputs)


class Earlier(This):
    """The survey as it was."""

    common, classifier = "survey/common.yaml", "recogniser"

    def __init__(self, setting: Setting, root: Path):
        super().__init__(setting, root)
        setting.tell(f"install what {REVISION} pins")
        run(root, "make", "setup", env=outside())
        self.interpreter = str(root / ".venv" / "bin" / "python")

    def run(self, points: dict[str, dict[str, Any]]) -> None:
        YAML().dump({"points": {name: PARTS | values for name, values in points.items()}}, self.folder / "points.yaml")
        given = {"params": self.settings, "points": self.file("points.yaml")}
        for name in points:
            self.setting.tell(name)
            self.python("stages.survey_point", **given, name=name, result=self.file(f"{name}.json"), **self.inputs)
