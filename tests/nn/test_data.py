"""Sets on their way to the device: whole, or in parts that are read while others train."""

from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sealing import reseal
from torch import Tensor

from privpipe.checksum import block_rows
from privpipe.errors import PrivpipeError
from privpipe.nn.data import BLOCK, Resident, Streamed, load_split, load_training
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import measure
from privpipe.nn.train_job import train_file
from privpipe.store import PERTURBED, Header, Store, create, open_store

CPU = torch.device("cpu")
COUNT = 1000
SHAPE = (2, 4, 3)  # 24 bytes an image


def write(path: Path, dtype: str = "uint8", count: int = COUNT) -> Path:
    """Image i is filled with values that tell i, and its label is i % 7."""
    names = tuple("abcdefg")
    with create(path, Header(PERTURBED, "none", 1, "dataset", names, (0.0, 255.0), SHAPE, dtype), counts(count)) as out:
        numbers = np.arange(count)
        images = np.empty((count, *SHAPE), dtype)
        images[...] = (numbers % 250)[:, None, None, None]
        images[:, 0, 0, 0] = numbers // 250
        out.write("train", 0, images, numbers % 7)
    return path


def counts(train: int) -> dict[str, int]:
    return {"train": train, "val": 0, "test": 0}


def number(images: Tensor) -> list[int]:
    """Which images these are."""
    return (images[:, 0, 0, 0].long() * 250 + images[:, 1, 1, 1].long()).tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seen(training_set: Resident | Streamed, batch_size: int, order: torch.Generator) -> list[list[int]]:
    """The batches of one epoch, by the numbers of their images; labels are checked on the way."""
    batches = []
    for images, labels, shuffled in training_set.epoch(order, batch_size):
        assert len(images) == len(labels) == len(shuffled)
        for rows in torch.split(shuffled, batch_size):
            batches.append(number(images[rows]))
            assert labels[rows].tolist() == [i % 7 for i in batches[-1]]
    return batches


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with open_store(write(tmp_path / "p.h5"), PERTURBED) as opened:
        yield opened


@pytest.mark.parametrize("held", [1, 64, 100, 333, 700, 5000])
@pytest.mark.parametrize("batch_size", [1, 10, 64])
def test_an_epoch_has_every_image_once_in_whole_batches(store: Store, held: int, batch_size: int) -> None:
    streamed = Streamed(store, "train", CPU, held)
    batches = seen(streamed, batch_size, generator())
    assert sorted(chain.from_iterable(batches)) == list(range(COUNT))
    assert len(batches) == streamed.steps(batch_size) == -(-COUNT // batch_size)
    assert {len(batch) for batch in batches[:-1]} == {batch_size}


def test_a_resident_set_is_shuffled_as_a_whole(store: Store) -> None:
    resident = load_split(store, "train", CPU)
    (part,) = resident.epoch(generator(3), 64)
    assert torch.equal(part[2], torch.randperm(COUNT, generator=generator(3)))
    assert resident.count == COUNT and resident.steps(64) == 16


@pytest.mark.parametrize("held", [100, 400])
def test_no_more_images_are_held_than_allowed(store: Store, held: int) -> None:
    """One part trains while the next is read."""
    sizes = [len(images) for images, _, _ in Streamed(store, "train", CPU, held).epoch(generator(), 10)]
    assert max(one + other for one, other in pairwise(sizes)) <= held
    assert all(len(part) <= held // 2 for part in Streamed(store, "train", CPU, held).parts())


def test_the_order_follows_from_the_generator_and_differs_between_epochs(store: Store) -> None:
    streamed, order = Streamed(store, "train", CPU, 400), generator(5)
    first, second = seen(streamed, 50, order), seen(streamed, 50, order)
    assert first != second
    assert first == seen(streamed, 50, generator(5))


def test_the_shuffle_is_as_good_as_it_says(store: Store) -> None:
    """Every image is equally often in each tenth of the epoch, and neighbours meet as often as the class says."""
    streamed, order, epochs = Streamed(store, "train", CPU, 500), generator(1), 200
    place, together, apart = np.zeros((COUNT, 10)), 0, 0
    for _ in range(epochs):
        batches = seen(streamed, 50, order)
        in_batch = np.empty(COUNT, int)
        for i, batch in enumerate(batches):
            in_batch[batch] = i
        place[np.arange(COUNT), in_batch * 10 // len(batches)] += 1
        together += (in_batch[0:64:2] == in_batch[1:64:2]).sum()  # pairs of the first block
        apart += (in_batch[0:64] == in_batch[500:564]).sum()
    # The last block is the short one; images of all others.
    shares = place[: COUNT // BLOCK * BLOCK].mean(axis=0) / epochs
    np.testing.assert_allclose(shares, 0.1, atol=0.02)
    full = 49 / 999
    parts = 4
    assert together / (32 * epochs) == pytest.approx(parts * full, rel=0.15)
    assert apart / (64 * epochs) == pytest.approx(full, rel=0.25)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_statistics_are_those_of_the_whole_set(tmp_path: Path, dtype: str) -> None:
    with open_store(write(tmp_path / "p.h5", dtype), PERTURBED) as store:
        streamed = Streamed(store, "train", CPU, 90)
        whole = load_split(store, "train", CPU)
        assert torch.equal(torch.cat(list(streamed.parts())), whole.images)
        one, other = measure(streamed.parts()), measure(whole.images)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.std, other.std)


@pytest.mark.parametrize(("memory_mb", "kind"), [(None, Resident), (1, Resident)])
def test_a_set_that_fits_is_resident(store: Store, memory_mb: int | None, kind: type) -> None:
    assert isinstance(load_training(store, CPU, 64, memory_mb), kind)


def test_a_set_that_does_not_fit_is_streamed(tmp_path: Path) -> None:
    with open_store(write(tmp_path / "p.h5", count=50_000), PERTURBED) as store:
        found = load_training(store, CPU, 64, 1)
        assert isinstance(found, Streamed)
        assert found.held == 10**6 // 24
        with pytest.raises(PrivpipeError, match=r"train\.memory_mb must hold two batches .*=30000, 1\.4 MB; got 1\."):
            load_training(store, CPU, 30_000, 1)


def test_what_an_earlier_training_left_in_the_cache_of_torch_is_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the order of images would hang on what ran before in the same process."""
    whole, free = load_split(store, "train", CPU), [2 * COUNT * 24 - 2]  # bytes: half of them do not quite hold the set
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: free.append(2 * COUNT * 24))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free[-1], 10**9))
    monkeypatch.setattr("privpipe.nn.data.load_split", lambda store, split, device: whole)
    assert load_training(store, torch.device("cuda"), 64, None) is whole


def test_damage_that_is_found_while_training_is_an_error_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", "float16")
    with open_store(path, PERTURBED) as store:
        offset = store.file["train"]["images"].id.get_offset()
    with path.open("r+b") as file:
        file.seek(offset + 700 * 48)
        file.write(np.array([np.nan], np.float16).tobytes())
    with (
        open_store(path, PERTURBED) as store,
        pytest.raises(PrivpipeError, match="train/images changed since"),
    ):
        seen(Streamed(store, "train", CPU, 300), 10, generator())
    reseal(path)
    with open_store(path, PERTURBED) as store, pytest.raises(PrivpipeError, match="has NaN or infinite values"):
        seen(Streamed(store, "train", CPU, 300), 10, generator())


def test_what_streaming_reads_together_are_whole_blocks(tmp_path: Path) -> None:
    """So that comparing their checksums reads nothing twice, whatever the size of the images."""
    for size in range(1, 2**20, 997):
        assert BLOCK % block_rows(size) == 0


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_empty_split_is_refused(store: Store, split: str) -> None:
    with pytest.raises(PrivpipeError, match=rf"has no {split} images\. Raise data\.n_{split}"):
        load_split(store, split, CPU)


def trained(path: Path, memory_mb: int | None) -> dict[str, Tensor]:
    recipe = Recipe(epochs=2, batch_size=32, lr=0.001, reg=0.001, seed=0)
    return train_file(path, "three_layer", recipe, "cpu", 1, memory_mb=memory_mb).bundle.model.state_dict()


def test_a_streamed_training_is_as_repeatable_as_any(tmp_path: Path) -> None:
    """600 images of 3 kB in 1 MB: four parts an epoch."""
    header = Header(PERTURBED, "none", 1, "dataset", ("dark", "light"), (0.0, 255.0), (32, 32, 3), "uint8")
    labels = np.arange(600) % 2
    images = np.random.default_rng(0).integers(0, 120, (600, 32, 32, 3)) + 100 * labels[:, None, None, None]
    with create(tmp_path / "p.h5", header, {"train": 600, "val": 100, "test": 0}) as out:
        out.write("train", 0, images.astype(np.uint8), labels)
        out.write("val", 0, images[:100].astype(np.uint8), labels[:100])
    first, again, resident = (trained(tmp_path / "p.h5", memory_mb) for memory_mb in (1, 1, None))
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        if weight.numel() > 10:
            assert not torch.equal(weight, resident[name])
