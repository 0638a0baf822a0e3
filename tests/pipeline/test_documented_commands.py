"""What a user of the documents publishes: every command that they name is run on own images with a real key, and then
everything that git or a remote holds is decoded and searched for originals by similarity."""

import re
from dataclasses import dataclass

import pytest
from leaks import held
from leaks.commands import documents, in_help
from leaks.find import Finder
from leaks.photos import photographs
from own_places import Places, make_places, published, secrets
from projects import ROOT

from privpipe.cli.main import main

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]

SIZE, IMAGES = 32, 90
BY_DESIGN = "what is released shows the image by design there"
CIFAR10 = "the public images of CIFAR-10, none of the owner's"
LONG = "a study of an hour or more, on public images"


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
    skip("make (demo|test|repro|study|bench|survey|leaderboard|check)", "minutes to days, on drawn or public images"),
    skip("make docs", "has tests of its own"),
    skip("source .venv/bin/activate && cd demo", "every command here runs in the environment"),
    skip(
        r"python -m privpipe\.scores\."
        r"(guarantee|release_table|set_release|(identification_table|release_accuracy|at_home) .*)",
        "have tests of their own; print a table",
    ),
    # tests/pipeline/test_evaluate.py runs these in small, on drawn images.
    skip(r"privpipe (evaluate|leaderboard|challenge (new|submit|score)) .*", "minutes, on drawn or public images"),
    skip(r"python -m studies\.(outcomes|front\.figure) .*", "has tests of its own; what it makes is committed"),
    skip(r"python -m benchmarks\.two_classes", "minutes, on drawn images; its commands are run by other lines"),
    skip(r"python benchmarks/\w+\.py .*", f"{CIFAR10}; writes nothing"),
    skip(r"python -m benchmarks\.(falling_schemes|unmixing_attack) .*", f"{CIFAR10}; writes nothing"),
    skip(r"dvc exp run .*data\.archive=.*", CIFAR10),
    skip(r"dvc --cd studies/\w+ .*", LONG),
    skip(r"cp studies/.*", LONG),
    skip(r"git checkout studies/\w+", "nothing was copied there"),
    skip(r"pip install .*", "installs packages"),
    # For somebody without a clone: tests/pipeline/test_wheel.py runs these in a project of their own.
    skip(r"python3 -m venv .*|privpipe init .*|cd lab && dvc repro|.* my-image\.jpg", "for a project without a clone"),
    skip(r'git add --all && git commit -m "First results"', "for a project without a clone"),
    skip(r"dvc exp run -S train\.epochs=30 && dvc metrics diff", "for a project without a clone"),
    skip(r"(PYTHONPATH=. )?dask .*", "a cluster"),
    skip(r"dvc exp run .*perturb\.method=none.*", "releases the images themselves: who asks for that has no secret"),
    skip(r"privpipe key (import|replace|export) .*|privpipe doctor.*", "has tests of its own"),
    skip(r"mkdir -m 700 /home/me/my-cache|dvc config --local cache\.dir .*", "the cache stays where the search looks"),
    # Own images, from the first command to a prediction.
    Rule(r"dvc exp run -S data\.source=folder .* perturb"),
    Rule(r"dvc remote add --default store /shared/store && dvc remote modify store verify true"),
    Rule(r"dvc remote add --default store /path/or/url", "the store has that name already", "dvc remote list"),
    Rule(r"git add --all && git commit -m .*"),
    Rule(r"git push( .*)?"),
    Rule(r"git clone <your repository> privpipe && .*", "the packages are installed", "git clone --quiet HUB ."),
    Rule(r"dvc (pull|push) [\w/. ]+"),
    Rule(r"git pull && dvc pull [\w ]+"),
    Rule(r"dvc repro( --allow-missing)? \w+( && .*)?"),
    Rule(r"privpipe (predict|perturb|inspect|export|verify) .*"),
    Rule(r"privpipe key (list|(new|show) .*)"),
    skip(r"export IMAGES=/home/me/images", "every command here has the variable"),
    # Experiments.
    Rule(r"dvc exp run -S perturb\.scope=image -S model\.arch=baseline"),
    # Each stage runs once more in the workspace or in the copy of a queued experiment: both are searched.
    Rule(r"dvc exp run -S perturb\.k=8", "k=8 is what was run before", "dvc exp run -S train.lr=0.002"),
    skip(r"dvc exp run -S perturb\.method=gaussian_blur .*", f"{BY_DESIGN}; the queue has another method instead"),
    Rule(
        r"dvc exp run --queue -S 'perturb\.k=2,4,8' .*",
        BY_DESIGN,
        "dvc exp run --queue -S perturb.method=block_mix -S perturb.k=8",
    ),
    skip("git checkout params.yaml", "what is run in place of other commands needs the parameters of own images"),
    Rule("dvc exp run --run-all"),
    Rule(r"dvc (metrics (show|diff)|plots (show|diff HEAD workspace)|dag)"),
    Rule(r"dvc exp show --only-changed( .*)?"),
]
# What the text names between the commands; `git add --all` and the pushes come last.
ALSO = [
    "dvc repro --allow-missing report",
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


def here(places: Places, command: str) -> str:
    """A documented command with the places of this test in it."""
    rule = rule_of(command)
    command = rule.instead or command
    for name, place in (("/home/me/images", "images"), ("/shared/store", "store"), ("HUB", "hub")):
        command = command.replace(name, str(places.root / place))
    if command.startswith("privpipe predict"):  # the key of the examples is a new one, not the model's
        command = command.replace("--key key.json", "--key data/private/key.json")
    small = f"data.image_size={SIZE} -S data.n_val=9 -S data.n_train=null -S data.n_test=15"
    return re.sub(r"data\.image_size=64 -S data\.n_val=\d+", small, command)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """After every command of the documents."""
    found = make_places(tmp_path_factory.mktemp("documented"), photographs(IMAGES, SIZE, seed=9))
    owner, cloud = found.owner.folder, found.root / "cloud"
    for page, commands in documents(ROOT).items():
        for command in filter(is_run, commands):
            away = page == "own-images.md" and command.startswith(AT_THE_CLOUD)
            if page == "own-images.md" or here(found, command) not in ran_once(found):
                found.run(here(found, command), cloud if away else owner)
    for command in filter(is_run, in_help(main)):
        found.run(here(found, command), owner)
    for command in ALSO:
        found.run(command, owner)
    return found


def ran_once(places: Places) -> set[str]:
    """Commands that need not be run a second time: they end in the same state."""
    return {command for command, _, _ in places.ran if not command.startswith(("git", "dvc exp run --run-all"))}


def test_nothing_that_is_published_shows_an_original(places: Places) -> None:
    found = held.look(published(places), Finder(places.originals), [SIZE], secrets(places), places.known)
    assert found.looked_at > 50
    # DVC keeps the arguments of an experiment as a pickle of some hundred bytes, too few for an image.
    unread = [what for what in found.unread if not re.search(r": \d{1,3} bytes of an unknown form, b'\\x80\\x04", what)]
    assert (found.originals, found.pieces, unread) == ([], [], [])


def test_the_search_finds_what_is_planted(places: Places) -> None:
    """The same search over the owner's private files, and over what `plots show` copied."""
    finder = Finder(places.originals)
    for name in ("dvc_plots", "reports/index.html", "data/private/images.h5", "holiday", "plots/examples.png"):
        path = places.owner.folder / name
        files = held.files_below(path) if path.is_dir() else {name: path.read_bytes()}
        assert held.look(files, finder, [SIZE], [], set()).originals, name


def test_git_takes_no_file_that_holds_images(places: Places) -> None:
    """Not even perturbed ones: what the commands write stays beside what is committed."""
    status = places.owner.run("git", "status", "--porcelain", "--ignored").stdout
    ignored = {line[3:] for line in status.splitlines() if line.startswith("!! ")}
    assert {"dvc_plots/", "holiday/", "image.jpg", "out/look.png", "out/sheet.png", "out/model.onnx"} <= ignored
    assert not [line for line in status.splitlines() if not line.startswith("!! ")]
