"""Methods and attacks of other packages are found, used like ours, and to blame by name where they are broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privpipe.attacks.base import Attack
from privpipe.attacks.registry import ATTACKS, attacks
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, Perturbation, block_scramble
from privpipe.plugins import Registry

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

# What a user does with a method of another package; prints what came of it.
USE = """
import json, sys
import numpy as np
import privpipe
from privpipe.attacks.base import AdversaryView
from privpipe.attacks.suite import suite
from privpipe.attacks.registry import attacks
from privpipe.data.synthetic import draw
from privpipe.params import check_params
from privpipe.perturb import METHODS, KeyStream
from privpipe.report.figures import method_figure
from privpipe.scores.scoring import judge
from ruamel.yaml import YAML

NAME, SIZE = "foreign_scramble", 16
values = YAML(typ="safe").load(open(sys.argv[1]))
chosen = check_params(values | {"perturb": {"method": NAME, "k": 4, "scope": "dataset", "sigma": 0.0}})
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


def test_a_method_and_an_attack_of_another_package_work_as_ours(tmp_path: Path) -> None:
    # The very file of one of our methods, under another name and in another package.
    source = Path(block_scramble.__file__).read_text().replace('name = "block_scramble"', 'name = "foreign_scramble"')
    folder = package(
        tmp_path / "site",
        "foreign",
        {"scramble": source, "grey": ATTACK},
        {
            "privpipe.methods": ["foreign_scramble = foreign.scramble:BlockScramble"],
            "privpipe.attacks": ["grey = foreign.grey:Grey"],
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


def test_ours_are_those_of_the_folders() -> None:
    for registry, folder in ((METHODS, "perturb"), (ATTACKS, "attacks")):
        ours = [kind for kind in registry.values() if kind.__module__ == f"privpipe.{folder}.{kind.name}"]
        assert len(ours) >= 8 and list(registry) == sorted(registry)


def test_attacks_are_tried_in_their_order_and_costly_ones_last() -> None:
    found = attacks(3, 7, 1, "cpu")
    assert (found[0].name, found[-1].name) == ("as_is", "restoration_network")
    assert [attack.order for attack in found[:-1]] == sorted(attack.order for attack in found[:-1])
    assert found[-1].epochs == 3 and found[-1].seed == 7  # type: ignore[attr-defined]  # of the network
    assert "restoration_network" not in [attack.name for attack in attacks(0, 0, 1, "cpu")]


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


def test_an_attack_of_a_level_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Attack):
        name = "odd"
        levels = ("L0", "L9")

        applies = run = None  # type: ignore[assignment]  # it is refused before

    monkeypatch.setitem(ATTACKS._found, "odd", Odd)
    with pytest.raises(PrivpipeError, match=r"the attack odd has the levels \('L0', 'L9'\); use some of L0, L1, L2\."):
        attacks(0, 0, 1, "cpu")
