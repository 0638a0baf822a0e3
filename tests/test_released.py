"""The file of a release: what is written is read, the same bytes each time, and damage is noticed."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from privpipe.errors import PrivpipeError
from privpipe.released import About, Released, is_release, load_released, save_released
from privpipe.store import PERTURBED, open_store

ABOUT = About("dp_statistics", "noisy_sums", {"epsilon": 1.0, "delta": 1e-5}, ("cat", "dog"), (16, 16, 3), "0" * 64)
NUMBERS = {"sums.cross": np.arange(6.0).reshape(2, 3), "sums.count": np.array(7), "map": np.ones((2, 2), np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_released(tmp_path / "perturbed.h5", Released(ABOUT, NUMBERS))
    return tmp_path / "perturbed.h5"


def test_what_is_written_is_read_and_the_same_release_is_the_same_bytes(path: Path) -> None:
    found = load_released(path)
    assert found.about == ABOUT and is_release(path)
    assert found.numbers.keys() == NUMBERS.keys()
    assert all(np.array_equal(found.numbers[name], NUMBERS[name]) for name in NUMBERS)
    assert found.digest == Released(ABOUT, NUMBERS).digest
    save_released(path.with_name("again.h5"), found)
    assert path.with_name("again.h5").read_bytes() == path.read_bytes()


def test_the_digest_is_of_everything() -> None:
    digests = {
        Released(ABOUT, NUMBERS).digest,
        Released(replace(ABOUT, settings={"epsilon": 2.0, "delta": 1e-5}), NUMBERS).digest,
        Released(ABOUT, {**NUMBERS, "map": np.zeros((2, 2), np.float32)}).digest,
        Released(ABOUT, {**NUMBERS, "map": NUMBERS["map"].reshape(4)}).digest,
    }
    assert len(digests) == 4


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PrivpipeError, match=r"perturbed\.h5 is damaged: .*Make it again with `dvc repro`"):
        load_released(path)


def test_a_release_is_no_file_of_images_nor_the_reverse(path: Path) -> None:
    with (
        pytest.raises(PrivpipeError, match=r"must be a privpipe-perturbed file; its format is 'privpipe-released'"),
        open_store(path, PERTURBED),
    ):
        pass
    assert not is_release(path.with_name("missing.h5"))
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file.attrs["format"] = np.bytes_(PERTURBED.encode())
    assert not is_release(path.with_name("other.h5"))


def test_a_release_with_values_that_are_no_numbers_is_refused(path: Path) -> None:
    save_released(path, Released(ABOUT, {"sums.cross": np.array([np.nan])}))
    with pytest.raises(PrivpipeError, match=r"sums\.cross holds NaN or infinite values"):
        load_released(path)
