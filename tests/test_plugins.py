"""What other packages offer is found, used like ours, and to blame by name where it is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privpipe.attacks.base import Attack
from privpipe.attacks.registry import ATTACKS, attacks
from privpipe.errors import PrivpipeError
from privpipe.networks.registry import NETWORKS
from privpipe.perturb import METHODS, PERTURBATIONS, Perturbation, block_scramble
from privpipe.pipeline.code import Sources
from privpipe.plugins import PLUGINS, Registry, name_plugin
from privpipe.scores.registry import SCORES

ATTACK = """
import numpy as np

from privpipe.attacks.base import Attack, Outcome


class Grey(Attack):
    name = "grey"
    levels = ("L0",)
    order = 1

    def applies(self, method):
        return method.blocks

    def run(self, view):
        return Outcome(np.full(view.targets.shape, 127, np.float32))
"""

NETWORK = """
from privpipe.networks.base import Network
from privpipe.layers import plain


class Narrow(Network):
    name = "narrow"
    halvings = 1

    def layers(self, sizes):
        return plain(sizes.channels, sizes.image_size, sizes.classes, (4, 4))

    def experiment_problems(self, method, descrambler):
        problems = super().experiment_problems(method, descrambler)
        return problems if method.blocks else [*problems, f"narrow needs blocks; got {method.name}."]
"""

SCORE = """
import numpy as np

from privpipe.scores.base import ImageScore


class Contrast(ImageScore):
    name = "contrast"
    label = "contrast kept"
    mark = "the whole contrast"

    @staticmethod
    def values(originals, images):
        return images.std(axis=(1, 2, 3)) / np.maximum(originals.std(axis=(1, 2, 3)), 1)

    def chance(self, labels, key):
        return 0.25

    def finding(self, level, known, metrics):
        return f"With {known}, contrast is kept." if metrics[f"{level}_contrast"] > metrics["chance_contrast"] else None

    def note(self, metrics):
        return "Contrast kept: of an example."
"""

# What a user does with a method of another package; prints what came of it.
USE = """
import json, sys
import numpy as np
import privpipe
from privpipe.attacks.base import AdversaryView
from privpipe.attacks.suite import suite
from privpipe.attacks.registry import attacks
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.params import check_params
from privpipe.perturb import METHODS, KeyStream
from privpipe.report.advice import findings
from privpipe.report.figures import method_figure
from privpipe.scores.scoring import judge
from ruamel.yaml import YAML

NAME, SIZE = "foreign_scramble", 16
values = YAML(typ="safe").load(open(sys.argv[1]))
perturb = {"method": NAME, "k": 4, "scope": "dataset", "sigma": 0.0}
model = values["model"] | {"arch": "narrow"}
chosen = check_params(values | {"perturb": perturb, "model": model})
try:
    check_params(values | {"perturb": perturb | {"method": "none"}, "model": model})
except PrivpipeError as error:
    demand = str(error)
drawn = draw(70, SIZE, rng=np.random.default_rng(0))
images = drawn.images
perturbed = privpipe.perturb(images, NAME, k=4, key=bytes(range(32)))
runs = privpipe.attack(perturbed, NAME, k=4, public=images[60:], pairs=(images[:5], perturbed[:5]))
owner = METHODS[NAME](SIZE, 4, "dataset", 0.0, KeyStream(bytes(range(32))))
view = AdversaryView(NAME, 4, "dataset", 0.0, perturbed[:40], perturbed[40:60], images[60:])
found = judge(view, suite(view, attacks(0, 0, 1, "cpu")), images[40:60], np.asarray(drawn.labels)[40:60], owner,
              lambda images: np.zeros(len(images), int))
print(json.dumps({
    "module": METHODS[NAME].__module__,
    "method": chosen.perturb.method,
    "changed": bool((perturbed != images).any()),
    "runs": [[run.level, run.attack, run.problem] for run in runs],
    "l3_ssim": found.metrics["l3_ssim"],
    "problems": found.problems,
    "arch": chosen.model.arch,
    "demand": demand,
    "scores": {name: value for name, value in found.metrics.items() if "contrast" in name},
    "columns": [name for name in found.rows[0].cells() if "contrast" in name],
    "findings": findings(found.metrics),
    "title": method_figure(NAME, SIZE, 4, "dataset", 0.0).axes[0].get_title(),
}))
"""


def package(folder: Path, name: str, modules: dict[str, str], entries: dict[str, list[str]]) -> Path:
    """An installed package: modules, and the note of its entry points that installers leave beside them."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    for module, source in modules.items():
        (folder / name / f"{module}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, given in entries.items() for line in (f"[{group}]", *given)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def methods() -> Registry[Perturbation]:
    """As `METHODS`, before its first look."""
    return Registry("privpipe.perturb", "privpipe.perturb.base:Perturbation", "privpipe.methods", METHODS.required)


def test_what_another_package_offers_works_as_ours(tmp_path: Path) -> None:
    # The very file of one of our methods, under another name and in another package.
    source = Path(block_scramble.__file__).read_text().replace('name = "block_scramble"', 'name = "foreign_scramble"')
    folder = package(
        tmp_path / "site",
        "foreign",
        {"scramble": source, "grey": ATTACK, "narrow": NETWORK, "contrast": SCORE},
        {
            "privpipe.methods": ["foreign_scramble = foreign.scramble:BlockScramble"],
            "privpipe.attacks": ["grey = foreign.grey:Grey"],
            "privpipe.networks": ["narrow = foreign.narrow:Narrow"],
            "privpipe.scores": ["contrast = foreign.contrast:Contrast"],
        },
    )
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
    command = [sys.executable, "-W", "error", "-c", USE, str(root / "params.yaml")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["module"], found["method"], found["changed"]) == ("foreign.scramble", "foreign_scramble", True)
    runs = [("L0", "as_is"), ("L0", "grey"), ("L0", "pixel_correlation")]
    runs += [("L1", "pixel_correlation"), ("L2", "known_plaintext")]
    assert found["runs"] == [[level, attack, None] for level, attack in runs]
    assert found["l3_ssim"] == pytest.approx(1) and found["problems"] == []
    assert found["title"].startswith("one block of 4×4")
    assert (found["arch"], found["demand"]) == ("narrow", "narrow needs blocks; got none.")
    assert found["scores"].keys() == {
        *(f"l{level}_contrast" for level in range(4)),
        *(f"{name}_contrast" for name in ("mean_image", "perturbed", "other_image", "chance")),
    }
    assert found["scores"]["l3_contrast"] == pytest.approx(1) and found["scores"]["chance_contrast"] == 0.25
    assert found["columns"] == ["contrast"]
    assert "With the stolen file alone, contrast is kept." in found["findings"]


def test_ours_are_those_of_the_folders() -> None:
    for registry, folder in ((METHODS, "perturb"), (ATTACKS, "attacks"), (NETWORKS, "networks")):
        ours = [kind for kind in registry.values() if kind.__module__ == f"privpipe.{folder}.{kind.name}"]
        assert len(ours) >= 6 and list(registry) == sorted(registry)
    assert len(SCORES) == 9 and all(kind.__module__.startswith("privpipe.scores.measures.") for kind in SCORES.values())


def test_attacks_are_tried_in_their_order_and_costly_ones_last() -> None:
    found = attacks(3, 7, 1, "cpu")
    costly = [attack.name for attack in found if attack.costly]
    assert costly == ["blind_deconvolution", "restoration_network"] == [attack.name for attack in found[-2:]]
    assert found[0].name == "as_is"
    assert [attack.order for attack in found[:-2]] == sorted(attack.order for attack in found[:-2])
    assert found[-1].epochs == 3 and found[-1].seed == 7  # type: ignore[attr-defined]  # of the network
    assert not {*costly} & {attack.name for attack in attacks(0, 0, 1, "cpu")}


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        (
            "import nothing_of_that_name",
            "broken.methods:Any",
            r"^broken\.methods:Any of the package broken, an entry point of privpipe\.methods, cannot be imported: "
            r"ModuleNotFoundError: .*\. Repair or remove the package\.$",
        ),
        ("1 / 0", "broken.methods:Any", r"the package broken, .* cannot be imported: ZeroDivisionError"),
        (
            "Other = int",
            "broken.methods:Other",
            r"the package broken, .* must be a class derived from privpipe\.perturb",
        ),
        ("Other = 3", "broken.methods:Other", r"the package broken, .* must be a class derived from privpipe\.perturb"),
        (
            "from privpipe.perturb import Perturbation\nclass Half(Perturbation):\n    name = summary = 'half'",
            "broken.methods:Half",
            r"the package broken, .* that defines apply, legal_k\. Repair",
        ),
        (
            "from privpipe.perturb.none import Unperturbed as Twin",
            "broken.methods:Twin",
            r"^two privpipe\.methods are called none: one of privpipe and one of the package broken\. Rename one",
        ),
        (
            "from privpipe.perturb.none import Unperturbed\nclass Mute(Unperturbed):\n    name, summary = 'mute', None",
            "broken.methods:Mute",
            r"^Mute of the package broken has no summary\. Set summary, a text, in the class\.$",
        ),
    ],
)
def test_a_broken_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, entry: str, message: str
) -> None:
    package(tmp_path, "broken", {"methods": source}, {"privpipe.methods": [f"broken = {entry}"]})
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("broken", "broken.methods"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = methods()  # nothing is imported before the first look
    with pytest.raises(PrivpipeError, match=message):
        list(found)


def test_a_class_that_no_package_offers_is_named_for_this_process_and_those_that_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from privpipe.perturb.none import Unperturbed\nclass Same(Unperturbed):\n    name = 'same'"
    (tmp_path / "lone_scheme.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS, "")
    found = methods()
    assert "same" not in found
    before = Sources(Path(__file__).parents[1]).behind("privpipe.perturb")
    for _ in range(2):  # once is enough
        name_plugin("privpipe.methods", "lone_scheme.Same")
    name_plugin("privpipe.methods", "privpipe.perturb.none.Unperturbed")  # what is found already is no second one
    assert os.environ[PLUGINS].count("lone_scheme:Same") == 1
    found.look_again()
    assert found["same"].__module__ == "lone_scheme" and len(found) == len(PERTURBATIONS) + 1
    code = "from privpipe.perturb import METHODS; assert 'same' in METHODS"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path).returncode == 0
    after = Sources(Path(__file__).parents[1]).behind("privpipe.perturb")
    assert set(after) - set(before) >= {"installed:lone_scheme.py"}


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("Same", r"'Same' names no class\. Write it as package\.module\.Class\."),
        (
            "nowhere.Same",
            r"nowhere\.Same cannot be imported: ModuleNotFoundError: .* Install its package",
        ),
    ],
)
def test_a_name_of_no_class_is_refused(dotted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLUGINS, "")
    with pytest.raises(PrivpipeError, match=message):
        name_plugin("privpipe.methods", dotted)
    assert os.environ[PLUGINS] == ""


def test_an_attack_of_a_level_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Attack):
        name = "odd"
        levels = ("L0", "L9")

        applies = run = None  # type: ignore[assignment]  # it is refused before

    monkeypatch.setitem(ATTACKS._found, "odd", Odd)
    with pytest.raises(PrivpipeError, match=r"the attack odd has the levels \('L0', 'L9'\); use some of L0, L1, L2\."):
        attacks(0, 0, 1, "cpu")
