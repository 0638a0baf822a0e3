"""A scheme in a package elsewhere, as a new user tries it: from the package to a row on the page, and a challenge."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from privpipe.attacks.registry import ATTACKS
from privpipe.attacks.standard import NEWEST, Size
from privpipe.cli.main import main
from privpipe.perturb import METHODS, perturbation_called
from privpipe.pipeline.code import Sources
from privpipe.pipeline.evaluate import Asked, name_of, params_for, prepare
from privpipe.plugins import PLUGINS
from privpipe.scores.entry import load_entry

TINY = Size(40, 10, 10, 40, 10, 40, 5, 1, 1, 1, keys=1, seeds=2, minutes=1)
SCHEME = '''
from privpipe.perturb.base import BlockPerturbation


class Mirror(BlockPerturbation):
    """Each image, upside down."""

    name = "mirror"
    summary = "the image upside down"
    exact = True

    def apply(self, images, copies=None):
        return images[:, ::-1]
'''
ATTACK = '''
from privpipe.attacks.base import Attack, Outcome


class Turn(Attack):
    """Turns images back."""

    name = "turn"
    levels = ("L0",)

    def applies(self, method):
        return method.name == "mirror"

    def run(self, view):
        return Outcome(view.targets[:, ::-1].astype("float32"), confidence=1.0)
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package that privpipe does not know of, and a size that takes seconds."""
    (tmp_path / "foreign_mirror").mkdir()
    (tmp_path / "foreign_mirror" / "__init__.py").write_text(SCHEME)
    (tmp_path / "foreign_mirror" / "turn.py").write_text(ATTACK)
    monkeypatch.setitem(NEWEST.sizes, "tiny", TINY)
    monkeypatch.setenv(PLUGINS, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("foreign_mirror")]:
        del sys.modules[name]
    METHODS.look_again()
    ATTACKS.look_again()


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], catch_exceptions=False)


def test_a_scheme_from_its_package_to_a_row_on_the_page(here: Path) -> None:
    words = ("evaluate", "foreign_mirror.Mirror", "--size", "tiny", "--source", "synthetic", "--folder", "ev")
    done = ask(*words, "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "mirror k=4 dataset, baseline" in done.output and f"{NEWEST.title}, size tiny" in done.output
    assert "exactly (a theorem about the method, its key integrated out)" in done.output
    first = load_entry(here / "ev" / "mirror-4-dataset-baseline-tiny-synthetic.json")
    assert (first.scheme.package, first.suite.attacks) == ("foreign_mirror", ["as_is", "restoration_network"])
    assert (first.budget.train, first.budget.public, first.budget.pairs, first.accuracy.runs) == (40, 40, 5, 2)
    assert first.identified.at_least == 1 and first.privacy["l0_ssim"].mean < 0.99
    rows = (here / "ev" / "mirror-4-dataset-baseline-tiny-synthetic.runs.csv").read_bytes()
    assert ask(*words, "--workers", "1").exit_code == 0
    assert (
        here / "ev" / "mirror-4-dataset-baseline-tiny-synthetic.runs.csv"
    ).read_bytes() == rows  # nothing was measured again

    done = ask(*words, "--attack", "foreign_mirror.turn.Turn", "--workers", "1")
    assert done.exit_code == 0, done.output
    second = load_entry(here / "ev" / "mirror-4-dataset-baseline-tiny-synthetic-Turn.json")
    assert second.suite.title == f"{NEWEST.title} + turn"
    assert second.privacy["l0_ssim"].mean == pytest.approx(1)
    assert first.images.digest == second.images.digest and first.accuracy == second.accuracy

    records = [str(path) for path in (here / "ev").glob("*.json")]
    assert ask("leaderboard", *records, "--out", "page.html").output == "page.html: 2 entries\n"
    page = (here / "page.html").read_text()
    assert page.count("mirror k=4 dataset, baseline</td>") == 2 and f"{NEWEST.title} + turn" in page
    changed = json.loads(Path(records[0]).read_text())
    changed["accuracy"]["mean"] = 0.99
    Path(records[0]).write_text(json.dumps(changed))
    refused = ask("leaderboard", *records, "--out", "page.html")
    assert refused.exit_code == 1 and "Entries are run, never typed in" in refused.output


def test_records_of_other_images_have_other_names() -> None:
    asked = [
        Asked("pixelate"),
        Asked("pixelate", source="synthetic"),
        *(Asked("pixelate", archive="a.tar.gz", sha256=digit * 64) for digit in "ab"),
    ]
    names = [name_of(params_for(perturbation_called("pixelate"), one), one) for one in asked]
    assert names[0] == "pixelate-4-dataset-baseline-smoke"
    assert names[1:] == [f"{names[0]}-{images}" for images in ("synthetic", "aaaaaaaa", "bbbbbbbb")]


def test_the_classifier_that_looks_at_images_is_of_the_code_that_makes_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = params_for(perturbation_called("none"), Asked("none", size="tiny", source="synthetic"))
    first = prepare(params, here)
    assert prepare(params, here) == first
    monkeypatch.setattr(Sources, "behind", lambda *_: {"some": "other code"})
    assert prepare(params, here)["reference_classifier"] != first["reference_classifier"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "the scheme must be one of block_mix, "),
        (("foreign_mirror.Nothing",), "foreign_mirror.Nothing cannot be imported: AttributeError"),
        (("none", "--size", "huge"), "the size must be one of smoke, standard, full, tiny; got 'huge'"),
        (("none", "--attack", "guess"), "the attack must be one of as_is, "),
        (("gaussian_noise",), "perturb.sigma must be over 0"),
        (("none", "--set", "fraction"), "a setting is written as NAME=NUMBER; got 'fraction'"),
        (("block_mix", "--k", "5"), "perturb.k must divide data.image_size=32"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_any_work(words: tuple[str, ...], message: str, here: Path) -> None:
    refused = ask("evaluate", *words, "--source", "synthetic", "--folder", "ev")
    assert refused.exit_code == 1 and message in refused.output
    assert not (here / "ev").exists()


@pytest.mark.parametrize(("published", "private"), [("ch", "ch"), ("ch", "ch/own"), ("own/ch", "own")])
def test_a_challenge_publishes_no_folder_that_holds_the_key(here: Path, published: str, private: str) -> None:
    asked = ("challenge", "new", "block_scramble", published, "--private", private, "--k", "2", "--source", "synthetic")
    result = ask(*asked)
    assert result.exit_code == 1 and "Name two folders, neither of them in the other." in result.output
    assert not (here / "ch").exists() and not (here / "own").exists()


def test_a_challenge_keeps_its_key_where_git_takes_nothing(here: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=here, check=True)
    result = ask("challenge", "new", "block_scramble", "ch", "--private", "own", "--k", "2", "--source", "synthetic")
    assert result.exit_code == 1 and "would take own/images.h5, own/key.json: key and originals" in result.output
    assert not (here / "ch").exists() and not (here / "own").exists()


def test_a_challenge_is_made_solved_by_our_own_attack_and_scored(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(1500, 40, 30, 300, 10, 40, 5, 1, 1, 1, keys=1, seeds=1, minutes=1)
    monkeypatch.setitem(NEWEST.sizes, "tiny", size)
    new = ("challenge", "new", "block_scramble", "ch", "--private", "own", "--k", "2", "--size", "tiny")
    made = ask(*new, "--source", "synthetic")
    assert made.output.startswith("ch: 30 uploads to reconstruct, 40 to be named\n")
    published = b"".join(path.read_bytes() for path in sorted((here / "ch").iterdir()))
    secret = json.loads((here / "own" / "key.json").read_text())["secret"]
    assert bytes.fromhex(secret) not in published and secret.encode() not in published
    assert os.stat(here / "own").st_mode & 0o077 == 0
    assert "uint8 (30, 32, 32, 3)" in (here / "ch" / "README.md").read_text()

    assert ask("challenge", "submit", "ch", "--attack", "pixel_correlation", "--out", "a.h5").exit_code == 0
    result = json.loads(ask("challenge", "score", "ch", "a.h5", "--private", "own").output)
    assert result["by"] == "privpipe: pixel_correlation"
    assert result["ssim"] > 0.9 > result["ssim_of_mean"]
    assert result["named_low"] > 0.9 and result["named_by_class"] == 10 / 40

    # By hand: whoever guesses gets what chance gives.
    np.save("images.npy", np.full((30, 32, 32, 3), 127, np.uint8))
    np.save("rows.npy", np.zeros(40, np.int64))
    by_hand = ("challenge", "submit", "ch", "--by", "me", "--candidates", "rows.npy", "--out", "b.h5")
    assert ask(*by_hand, "--images", "images.npy").exit_code == 0
    result = json.loads(ask("challenge", "score", "ch", "b.h5", "--private", "own").output)
    assert result["by"] == "me" and result["ssim"] < 0.5 and result["named"] == 1 / 40

    np.save("wrong.npy", np.zeros((30, 32, 32), np.uint8))
    wrong = ask(*by_hand, "--images", "wrong.npy")
    assert wrong.exit_code == 1 and "the images must be uint8 (30, 32, 32, 3); got uint8 (30, 32, 32)" in wrong.output
    with open("wrong.npy", "wb") as file:
        np.savez(file, np.zeros((30, 32, 32, 3), np.uint8))
    assert "cannot read wrong.npy: the magic string is not correct" in ask(*by_hand, "--images", "wrong.npy").output
    np.save("rows.npy", np.full(40, 40))
    assert "the candidates must be rows of candidates.h5, 0 to 39; got 40 to 40" in ask(*by_hand).output
    assert "Name another folder" in ask(*new, "--source", "synthetic").output
    other = ("challenge", "new", "block_scramble", "ch2", "--private", "own2", "--k", "2", "--size", "tiny")
    assert ask(*other, "--source", "synthetic").exit_code == 0
    assert (
        "the solution is for another challenge" in ask("challenge", "score", "ch2", "b.h5", "--private", "own2").output
    )
    assert (
        "own2 does not belong to the challenge ch"
        in ask("challenge", "score", "ch", "b.h5", "--private", "own2").output
    )
    assert "has no key" in ask("challenge", "new", "none", "x", "--private", "y", "--source", "synthetic").output
    uploads = bytearray((here / "ch" / "public.h5").read_bytes())
    uploads[-1] ^= 1
    (here / "ch" / "public.h5").write_bytes(uploads)
    assert "public.h5 is missing or not the challenge's" in ask(*by_hand).output
