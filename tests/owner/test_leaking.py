"""The known pairs of level L2: the first training images, and only these."""

from pathlib import Path

import numpy as np
import pytest

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.owner.leaking import leak
from privpipe.store import LEAKED, open_store

COUNT = 50


@pytest.fixture
def images(tmp_path: Path) -> Path:
    train, test = draw(COUNT + 10, 8, rng=np.random.default_rng(0)), draw(10, 8, rng=np.random.default_rng(1))
    rows = {"train": np.arange(COUNT), "val": np.arange(COUNT, COUNT + 10), "test": np.arange(10)}
    write_images(tmp_path / "images.h5", train, test, rows)
    return tmp_path / "images.h5"


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (1, 1), (20, 20), (COUNT, COUNT), (1000, COUNT)])
def test_the_first_training_images_and_no_others(images: Path, tmp_path: Path, asked: int, got: int) -> None:
    leak(images, tmp_path / "leaked.h5", asked)
    with open_store(tmp_path / "leaked.h5", LEAKED) as leaked:
        assert leaked.counts == {"train": got, "val": 0, "test": 0}
        expected = draw(COUNT + 10, 8, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(leaked.images("train"), expected.images[:got])
        np.testing.assert_array_equal(leaked.labels("train"), expected.labels[:got])


def test_they_are_copied_in_chunks(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privpipe.store.CHUNK_BYTES", 8 * 8 * 3 * 7)
    leak(images, tmp_path / "leaked.h5", 20)
    with open_store(tmp_path / "leaked.h5", LEAKED) as leaked:
        expected = draw(COUNT + 10, 8, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(leaked.images("train"), expected.images[:20])
