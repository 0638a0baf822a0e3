"""With a real key, order and salts of raw files are as secret as the key; without one, they are as public as ever."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from privpipe.data.synthetic import draw
from privpipe.owner.key import Key, new_key, write_key
from privpipe.owner.leaking import leak
from privpipe.owner.order import KeyedOrder, salt_of, shuffler
from privpipe.perturb import KeyStream
from stages.download import main as download

ROOT = Path(__file__).parents[2]
SIZE, OF_EACH = 8, 40
REAL, SECOND = Key(bytes(range(32)), None), Key(bytes(range(1, 33)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images of three classes, each different."""
    root = tmp_path_factory.mktemp("images")
    for i, image in enumerate(draw(3 * OF_EACH, SIZE, rng=np.random.default_rng(5)).images):
        path = root / ("ant", "bee", "cow")[i % 3] / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def bring(to: Path, source: Path | None, key: Key | None, public: object = 0.2, split_seed: int = 0) -> Path:
    """Run the stage download; the folder with images.h5 and public.h5."""
    to.mkdir()
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["data"] |= {"source": "folder" if source else "synthetic", "path": str(source) if source else None}
    params["data"] |= {"image_size": SIZE, "n_train": 40, "n_val": 12, "n_test": 20, "public": public}
    params["data"]["split_seed"] = split_seed
    params["perturb"] |= {"k": 4}
    yaml.dump(params, to / "params.yaml")
    words = ["--folder", to / "raw", "--images", to / "images.h5", "--public", to / "public.h5"]
    if key is not None:
        write_key(to / "key.json", key)
        words += ["--key", to / "key.json"]
    result = CliRunner().invoke(download, [*map(str, words), "--params", str(to / "params.yaml")])
    assert result.exit_code == 0, result.output
    return to


def rows(path: Path) -> np.ndarray[Any, Any]:
    """All images, train, val and test in order."""
    with h5py.File(path) as file:
        return np.concatenate([file[split]["images"][:] for split in ("train", "val", "test")])


def salt(path: Path) -> str:
    with h5py.File(path) as file:
        return bytes(file.attrs["salt"]).decode()


def agreement(one: Path, other: Path) -> float:
    """The fraction of rows that hold the same image."""
    return float((rows(one / "images.h5") == rows(other / "images.h5")).all(axis=(1, 2, 3)).mean())


@pytest.mark.parametrize("from_folder", [True, False])
def test_a_real_key_orders_and_chooses_by_itself(tmp_path: Path, folder: Path, from_folder: bool) -> None:
    source = folder if from_folder else None
    public = bring(tmp_path / "public", source, None)
    real = bring(tmp_path / "real", source, REAL)
    assert agreement(public, bring(tmp_path / "research", source, new_key(7))) == 1
    assert agreement(real, bring(tmp_path / "again", source, REAL)) == 1
    for other in (public, bring(tmp_path / "second", source, SECOND), bring(tmp_path / "seed", source, REAL, 0.2, 1)):
        # By chance, one in as many as a class has in a split: its places are fixed by the balance of the classes.
        assert agreement(real, other) < (0.15 if from_folder else 0.5)
    if from_folder:  # with the public seed, everybody who guesses the names knows which row is which file
        listed = [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))]
        chosen = {image.tobytes() for image in rows(real / "images.h5")}
        assert chosen <= {image.tobytes() for image in listed}
        assert chosen != {image.tobytes() for image in rows(public / "images.h5")}


def test_a_part_of_an_order_does_not_repeat_in_another() -> None:
    order = KeyedOrder(KeyStream(bytes(32), ("order", 0)))
    first, second = (order.permutation(np.arange(500)) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(500))
    assert (first == second).sum() < 10 and (first == np.arange(500)).sum() < 10
    assert (first == KeyedOrder(KeyStream(bytes(32), ("order", 1))).permutation(np.arange(500))).sum() < 10


def test_a_research_key_draws_as_the_seed_does() -> None:
    seed = np.random.SeedSequence(3)
    expected = np.random.default_rng(seed).permutation(np.arange(50))
    for key in (None, new_key(9)):
        assert np.array_equal(shuffler(key, 3, seed).permutation(np.arange(50)), expected)
        assert salt_of(key, "images") == ""


def test_raw_files_carry_salts_of_their_own_that_tell_none_of_the_others(tmp_path: Path, folder: Path) -> None:
    made = bring(tmp_path / "made", folder, REAL)
    leak(made / "images.h5", made / "leaked.h5", 5)
    salts = [salt(made / f"{name}.h5") for name in ("images", "public", "leaked")]
    assert len(set(salts)) == 3 and all(len(one) == 32 for one in salts)
    assert salts[2] not in (salt_of(REAL, what) for what in ("leaked", "images", "public"))
    assert salt(bring(tmp_path / "second", folder, SECOND) / "images.h5") != salts[0]
    without = bring(tmp_path / "without", folder, new_key(0))
    leak(without / "images.h5", without / "leaked.h5", 5)
    assert {salt(without / f"{name}.h5") for name in ("images", "public", "leaked")} == {""}


def test_public_images_that_are_not_the_owners_need_no_salt(tmp_path: Path, folder: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for i, image in enumerate(draw(10, SIZE, rng=np.random.default_rng(6)).images):
        Image.fromarray(image).save(others / f"{i}.png")
    made = bring(tmp_path / "made", folder, REAL, public=str(others))
    assert salt(made / "public.h5") == "" and salt(made / "images.h5") != ""


@pytest.mark.parametrize("real", [True, False])
def test_the_published_digest_of_leaked_images_confirms_no_guess(tmp_path: Path, folder: Path, real: bool) -> None:
    """The attack of whoever knows the file format: one unknown original, 120 candidates, the MD5 of `dvc.lock`."""
    made = bring(tmp_path / "made", folder, REAL if real else new_key(0))
    leak(made / "images.h5", made / "leaked.h5", 1)
    published = hashlib.md5((made / "leaked.h5").read_bytes()).hexdigest()
    content = bytearray((made / "leaked.h5").read_bytes())
    true = rows(made / "leaked.h5")[0].tobytes()
    at = bytes(content).index(true)
    known_salt = salt(made / "leaked.h5").encode()
    if real:  # the adversary knows neither this file nor its salt
        where = bytes(content).index(known_salt)
        content[where : where + len(known_salt)] = b"0" * len(known_salt)
    confirmed = 0
    for path in sorted(folder.rglob("*.png")):
        content[at : at + len(true)] = np.asarray(Image.open(path)).tobytes()
        confirmed += hashlib.md5(content).hexdigest() == published
    assert confirmed == (0 if real else 1)
