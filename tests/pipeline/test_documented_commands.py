"""What a user of the documents publishes: every command that they name is run on own pictures with a real key, and then
everything that git or a remote holds is decoded and searched for originals by similarity."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, Project, copy_project, environment, set_params
from leaks import held
from leaks.commands import documents, in_help
from leaks.find import Finder
from leaks.photos import photographs
from PIL import Image

from privpipe.cli import main

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]

SIZE, PICTURES, CLASSES = 64, 90, ("lichen", "moss", "stone")
BY_DESIGN = "what is released shows the picture by design there"
CIFAR10 = "the public pictures of CIFAR-10, none of the owner's"
LONG = "a study of an hour or more, on public pictures"


@dataclass(frozen=True)
class Rule:
    """What is done about a documented command.

    Attributes:
        command: a regular expression for all of it.
        why: why it is not run as it is; empty where it is.
        instead: what is run in place of it.
        run: whether anything is.
    """

    command: str
    why: str = ""
    instead: str | None = None
    run: bool = True


def skip(command: str, why: str) -> Rule:
    return Rule(command, why, run=False)


TABLE = [
    # Another line of the documents, or of this table, runs the same; or it is not for this machine.
    skip("make (demo|test|repro|study|bench|survey)", "minutes to days, on drawn or public pictures"),
    skip(r"python benchmarks/\w+\.py .*", f"{CIFAR10}; writes nothing"),
    skip(r"dvc exp run .*data\.archive=.*", CIFAR10),
    skip(r"(dvc repro|dvc exp run .*) (study|studies|survey)/.*", LONG),
    skip(r"cd (study|studies|survey)\b.*", LONG),
    skip(r"cp (study|studies)/.*", LONG),
    skip(r"git checkout (study|studies)\S*", "nothing was copied there"),
    skip(r"pip install .*", "installs packages"),
    skip(r"dask .*", "a cluster"),
    skip(r"dvc exp run .*perturb\.method=none.*", "releases the pictures themselves: who asks for that has no secret"),
    skip(r"privpipe key (list|import|replace|export) .*|privpipe doctor.*", "has tests of its own"),
    # Own pictures, from the first command to a prediction.
    Rule(r"dvc exp run -S data\.source=folder .* perturb"),
    Rule(r"dvc remote add --default store /shared/store"),
    Rule(r"dvc remote add --default store /path/or/url", "the store has that name already", "dvc remote list"),
    Rule(r"git add --all && git commit -m .*"),
    Rule(r"git push( .*)?"),
    Rule(r"git clone <your repository> privpipe && .*", "the packages are installed", "git clone --quiet HUB ."),
    Rule(r"dvc (pull|push) [\w/. ]+"),
    Rule(r"git pull && dvc pull [\w ]+"),
    Rule(r"dvc repro( --allow-missing)? \w+( && .*)?"),
    Rule(r"privpipe (predict|perturb|inspect|export) .*"),
    Rule(r"privpipe key (new|show) .*"),
    Rule(r"export \w+=/home/me/pictures"),
    # Experiments.
    Rule(r"dvc exp run -S perturb\.k=8", "k=8 is what was run before", "dvc exp run -S perturb.k=16"),
    Rule(
        r"dvc exp run -S perturb\.method=gaussian_blur .*",
        BY_DESIGN,
        "dvc exp run -S perturb.method=block_mix -S perturb.k=8 -S model.arch=baseline",
    ),
    Rule(
        r"dvc exp run --queue -S 'perturb\.k=2,4,8' .*",
        BY_DESIGN,
        "dvc exp run --queue -S 'train.lr=0.001,0.002'",
    ),
    Rule("dvc exp run --run-all"),
    Rule(r"dvc (metrics diff|plots show|dag)"),
    Rule(r"dvc exp show --only-changed( .*)?"),
]
# What the text names between the commands; `git add --all` and the pushes come last.
ALSO = [
    "dvc repro --allow-missing report",
    "dvc plots diff HEAD workspace",
    "dvc plots show -o out/plots",
    "dvc exp show --md > out/table.md",
    "dvc repro",
    'git add --all && git commit --quiet --allow-empty -m "everything"',
    "git push --quiet origin HEAD",
    "dvc exp push origin --all-commits",
    "dvc push",
]
AT_THE_CLOUD = ("git clone", "dvc pull data/perturbed.h5", "dvc repro --allow-missing evaluate")


def rule_of(command: str) -> Rule:
    rules = [rule for rule in TABLE if re.fullmatch(rule.command, command)]
    assert rules, f"`{command}` is in the documents and not in the table of this test: say how it is run, or why not"
    return rules[0]


def is_run(command: str) -> bool:
    return rule_of(command).run


def test_the_table_knows_every_documented_command() -> None:
    found = [command for commands in documents(ROOT).values() for command in commands]
    assert len(found) > 30
    for command in [*found, *in_help(main)]:
        rule_of(command)


@dataclass
class Places:
    """An owner, a cloud, and what they share; and what was run."""

    root: Path
    originals: np.ndarray
    owner: Project
    known: set[bytes]
    ran: list[tuple[str, int, str]] = field(default_factory=list)

    def run(self, command: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=folder,
            env={**environment(), "PRIVPIPE_KEYS": str(self.root / "keys")},
            text=True,
            capture_output=True,
            timeout=300,
        )
        self.ran.append((command, done.returncode, done.stdout + done.stderr))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def here(self, command: str) -> str:
        """A documented command with the places of this test in it."""
        rule = rule_of(command)
        command = rule.instead or command
        for name, place in (("/home/me/pictures", "pictures"), ("/shared/store", "store"), ("HUB", "hub")):
            command = command.replace(name, str(self.root / place))
        if command.startswith("privpipe predict"):  # the key of the examples is a new one, not the model's
            command = command.replace("--key key.json", "--key data/private/key.json")
        return re.sub(r"data\.n_val=\d+", "data.n_val=9 -S data.n_train=null -S data.n_test=15", command)


def make_places(root: Path, originals: np.ndarray) -> Places:
    for i, picture in enumerate(originals):
        path = root / "pictures" / CLASSES[i % 3] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    for name in ("owner", "cloud"):
        (root / name).mkdir()
    owner = copy_project(root / "owner")
    set_params(owner, {"attack.targets": 15, "attack.pairs": 5, "train.threads": 2})
    owner.commit("small")
    known = {sha256(content).digest() for content in held.objects(owner.folder).values()}
    owner.run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(root / "hub"))
    owner.run("git", "remote", "add", "origin", str(root / "hub"))
    owner.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    # Where the examples say: in the clone.
    (owner.folder / "holiday").mkdir()
    for i, name in enumerate(("new-picture.jpg", "picture.jpg", "cat.jpg", "holiday/one.jpeg", "holiday/two.PNG")):
        Image.fromarray(originals[i]).save(owner.folder / name, quality=95)
    return Places(root, originals, owner, known)


def secrets(places: Places) -> Iterator[bytes]:
    """The key in both spellings, and stretches of raw pictures."""
    files = [places.owner.folder / "data/private/key.json", *(places.root / "keys").rglob("*.json")]
    contents = [json.loads(path.read_text()) for path in files if path.exists()]
    keys = [content["secret"] for content in contents if "secret" in content]
    assert keys
    for key in keys:
        yield from (key.encode(), bytes.fromhex(key))
    with h5py.File(places.owner.folder / "data/private/images.h5") as file:
        for split in ("train", "val", "test"):
            for picture in file[split]["images"][:]:
                yield from (picture.tobytes()[at : at + 192] for at in (0, 3000, 6144))


def published(places: Places) -> held.Held:
    """Everything in the hub, the store, and what git has or would take of the owner's and the cloud's clones."""
    out = {**held.objects(places.root / "hub"), **held.files_below(places.root / "store")}
    for clone in ("owner", "cloud"):
        if (places.root / clone / ".git").exists():
            out |= held.objects(places.root / clone)
            out |= {f"{clone}/{name}": content for name, content in held.files_for_git(places.root / clone).items()}
    return out


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """After every command of the documents."""
    found = make_places(tmp_path_factory.mktemp("documented"), photographs(PICTURES, SIZE, seed=9))
    owner, cloud = found.owner.folder, found.root / "cloud"
    for page, commands in documents(ROOT).items():
        for command in filter(is_run, commands):
            away = page == "own-images.md" and command.startswith(AT_THE_CLOUD)
            if page == "own-images.md" or found.here(command) not in ran_once(found):
                found.run(found.here(command), cloud if away else owner)
    for command in filter(is_run, in_help(main)):
        found.run(found.here(command), owner)
    for command in ALSO:
        found.run(command, owner)
    return found


def ran_once(places: Places) -> set[str]:
    """Commands that need not be run a second time: they end in the same state."""
    return {command for command, _, _ in places.ran if not command.startswith(("git", "dvc exp run --run-all"))}


def test_nothing_that_is_published_shows_an_original(places: Places) -> None:
    found = held.look(published(places), Finder(places.originals), [SIZE], secrets(places), places.known)
    assert found.looked_at > 50
    assert (found.originals, found.pieces, found.unread) == ([], [], [])


def test_the_search_finds_what_is_planted(places: Places) -> None:
    """The same search over the owner's private files, and over what `plots show` copied."""
    finder = Finder(places.originals)
    for name in ("dvc_plots", "reports/index.html", "data/private/images.h5", "holiday", "plots/examples.png"):
        path = places.owner.folder / name
        files = held.files_below(path) if path.is_dir() else {name: path.read_bytes()}
        assert held.look(files, finder, [SIZE], [], set()).originals, name


def test_git_takes_no_file_that_holds_pictures(places: Places) -> None:
    """Not even perturbed ones: what the commands write stays beside what is committed."""
    status = places.owner.run("git", "status", "--porcelain", "--ignored").stdout
    ignored = {line[3:] for line in status.splitlines() if line.startswith("!! ")}
    assert {"dvc_plots/", "holiday/", "picture.jpg", "out/look.png", "out/sheet.png", "out/model.onnx"} <= ignored
    assert not [line for line in status.splitlines() if not line.startswith("!! ")]
