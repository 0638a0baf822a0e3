"""The suite: which attack is run with what knowledge, and what is noted of it."""

from pathlib import Path

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Attack, Outcome, Pairs
from privpipe.attacks.suite import load_view, suite
from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.owner.leaking import leak
from privpipe.perturb import Perturbation
from privpipe.store import PERTURBED, PUBLIC, Header, create

SIZE = 8


def sample_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def view(stolen: int = 1200, public: int | None = 20, pairs: int | None = 25) -> AdversaryView:
    known = None if public is None else sample_images(public)
    both = None if pairs is None else Pairs(sample_images(pairs), sample_images(pairs))
    return AdversaryView("block_scramble", 4, "dataset", 0.0, sample_images(stolen), sample_images(5), known, both)


class Noted(Attack):
    """Notes what it is given; sure of itself as it is told to be."""

    name = "noted"
    levels = ("L0", "L1", "L2")
    seeks_key = True

    def __init__(self, confidence: float | None = 1.0):
        self.confidence = confidence
        self.given: list[tuple[int, int, int]] = []

    def applies(self, method: Perturbation) -> bool:
        return method.name == "block_scramble"

    def run(self, view: AdversaryView) -> Outcome:
        public = 0 if view.public is None else len(view.public)
        pairs = 0 if view.pairs is None else len(view.pairs.originals)
        self.given.append((len(view.stolen), public, pairs))
        return Outcome(view.targets.astype(np.float32), self.confidence, np.zeros((4, 16), np.int32))


class Refusing(Noted):
    name = "refusing"
    levels = ("L1",)

    def run(self, view: AdversaryView) -> Outcome:
        raise PrivpipeError("too few images. Use more.")


class Costly(Noted):
    name = "costly"
    levels = ("L2",)
    seeks_key = False
    costly = True


class Elsewhere(Noted):
    name = "elsewhere"

    def applies(self, method: Perturbation) -> bool:
        return False


def test_each_level_knows_what_it_may_and_no_more() -> None:
    attack = Noted(confidence=0.0)  # hopeless, so that fewer images are not tried
    records = suite(view(), [attack])
    assert attack.given == [(1200, 0, 0), (1200, 20, 0), (1200, 20, 1), (1200, 20, 10), (1200, 20, 25)]
    assert [(record.level, record.pairs) for record in records] == [
        ("L0", 0), ("L1", 0), ("L2", 1), ("L2", 10), ("L2", 25),
    ]  # fmt: skip
    assert all(record.attack == "noted" and record.images.shape == (5, SIZE, SIZE, 3) for record in records)


def test_levels_without_their_data_are_left_out() -> None:
    attack = Noted(confidence=0.0)
    suite(view(public=None, pairs=None), [attack])
    assert attack.given == [(1200, 0, 0)]


def test_the_cost_in_images_is_measured_at_the_highest_level_without_pairs() -> None:
    attack = Noted()
    records = suite(view(), [attack])
    assert attack.given[5:] == [(100, 20, 0), (300, 20, 0), (1000, 20, 0)]
    cost = records[5:]
    assert [(record.level, record.stolen, record.pairs) for record in cost] == [("L1", n, 0) for n in (100, 300, 1000)]
    assert all(record.images is None and record.key is not None for record in cost)


@pytest.mark.parametrize(("confidence", "runs"), [(0.04, 0), (0.06, 3)])
def test_fewer_images_are_tried_where_all_of_them_told_something(confidence: float, runs: int) -> None:
    attack = Noted(confidence)
    suite(view(pairs=None), [attack])
    assert attack.given[2:] == [(100, 20, 0), (300, 20, 0), (1000, 20, 0)][:runs]


def test_as_many_pairs_as_a_step_are_used_once() -> None:
    attack = Noted(confidence=0.0)
    suite(view(pairs=10), [attack])
    assert attack.given[2:] == [(1200, 20, 1), (1200, 20, 10)]


def test_what_refuses_is_noted_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = suite(view(), [Refusing()])
    assert (record.level, record.images, record.key) == ("L1", None, None)
    assert record.problem == "too few images. Use more."
    assert "refusing at L1 was not run: too few images" in caplog.text


def test_what_is_costly_is_run_with_all_pairs_only() -> None:
    attack = Costly()
    suite(view(), [attack])
    assert attack.given == [(1200, 20, 25)]


def test_what_is_costly_is_not_run_where_another_is_sure() -> None:
    attack = Costly()
    *_, record = suite(view(stolen=50), [Noted(confidence=0.95), attack])
    assert attack.given == []
    assert record.problem == "noted at L0 found the key with a confidence of 0.95"
    suite(view(stolen=50), [Noted(confidence=0.6), attack])
    assert attack.given == [(50, 20, 25)]


def test_known_pairs_that_tell_nothing_more_are_not_used() -> None:
    class Indifferent(Noted):
        def learns_from_pairs(self, view: AdversaryView) -> bool:
            return False

    attack = Indifferent(confidence=0.0)
    suite(view(), [attack])
    assert attack.given == [(1200, 0, 0), (1200, 20, 0)]


def test_what_does_not_apply_is_not_run() -> None:
    assert suite(view(), [Elsewhere()]) == []


@pytest.fixture
def files(tmp_path: Path) -> Path:
    train, test = draw(60, SIZE, rng=np.random.default_rng(0)), draw(10, SIZE, rng=np.random.default_rng(1))
    rows = {"train": np.arange(40), "val": np.arange(40, 50), "test": np.arange(10)}
    write_images(tmp_path / "images.h5", train, test, rows)
    write_images(tmp_path / "public.h5", train, test, {"train": np.arange(50, 60)}, PUBLIC)
    leak(tmp_path / "images.h5", tmp_path / "leaked.h5", 7)
    names = train.class_names
    header = Header(PERTURBED, "block_scramble", 4, "dataset", names, (0.0, 255.0), (SIZE, SIZE, 3), "uint8", 3.0)
    with create(tmp_path / "perturbed.h5", header, {"train": 40, "val": 10, "test": 10}) as writer:
        writer.write("train", 0, train.images[:40], train.labels[:40])
        writer.write("val", 0, train.images[40:50], train.labels[40:50])
        writer.write("test", 0, test.images, test.labels)
    return tmp_path


def test_the_view_from_files(files: Path) -> None:
    found = load_view(files / "perturbed.h5", files / "public.h5", files / "leaked.h5", 6, 30)
    assert (found.method, found.k, found.scope, found.sigma) == ("block_scramble", 4, "dataset", 3.0)
    assert (len(found.stolen), len(found.targets), len(found.public), len(found.pairs.originals)) == (30, 6, 10, 7)
    # This "perturbed" file holds the originals, so pairs are equal where they belong together.
    np.testing.assert_array_equal(found.pairs.originals, found.pairs.perturbed)


def test_all_is_taken_where_more_is_asked_for(files: Path) -> None:
    found = load_view(files / "perturbed.h5", files / "public.h5", files / "leaked.h5", 1000, None)
    assert (len(found.stolen), len(found.targets)) == (40, 10)


def test_nothing_public_and_no_pairs(files: Path) -> None:
    leak(files / "images.h5", files / "leaked.h5", 0)
    train = draw(10, SIZE, rng=np.random.default_rng(0))
    write_images(files / "public.h5", train, train, {"train": np.arange(0)}, PUBLIC)
    found = load_view(files / "perturbed.h5", files / "public.h5", files / "leaked.h5", 5, None)
    assert found.public is None and found.pairs is None


def test_public_images_of_another_size_are_refused(files: Path) -> None:
    train = draw(10, 16, rng=np.random.default_rng(0))
    write_images(files / "public.h5", train, train, {"train": np.arange(10)}, PUBLIC)
    with pytest.raises(
        PrivpipeError, match=r"public.h5 has images of shape \(16, 16, 3\), .*perturbed.h5 of \(8, 8, 3\)"
    ):
        load_view(files / "perturbed.h5", files / "public.h5", files / "leaked.h5", 5, None)
