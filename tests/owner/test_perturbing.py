"""From raw to perturbed file: the method as it is, in chunks, and nothing of the key in what leaves."""

import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sealing import reseal

from privpipe import store
from privpipe.data.images import RawImages
from privpipe.data.split import write_images
from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key, new_key
from privpipe.owner.perturbing import check_perturbed_with, perturb_file, perturbation, squared_change
from privpipe.parameters import Perturb
from privpipe.perturb import Copies

SIZE = 8
ROW = SIZE * SIZE * 3  # bytes of an image
COUNTS = {"train": 11, "val": 3, "test": 7}
NAMES = ("ant", "bee")
SEED = 1234567890123456789
SETTINGS = [
    Perturb(method=method, k=k, scope=scope, sigma=25.0)
    for method, k in (
        ("none", 1),
        ("gaussian_blur", 3),
        ("random_filter", 3),
        ("block_scramble", 4),
        ("gaussian_noise", 1),
        ("correlated_noise", 3),
    )
    for scope in ("dataset", "image")
]
SCRAMBLE = Perturb(method="block_scramble", k=4, scope="dataset", sigma=0.0)

each_setting = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.method}-{s.scope}")


def write_source(path: Path, counts: dict[str, int], size: int = SIZE) -> None:
    rng = np.random.default_rng(3)
    total = sum(counts.values())
    source = RawImages(rng.integers(0, 256, (total, size, size, 3), np.uint8), rng.integers(0, 2, total), NAMES)
    ends = np.cumsum(list(counts.values()))
    rows = {name: np.arange(end - count, end) for (name, count), end in zip(counts.items(), ends, strict=True)}
    write_images(path, source, source, rows)


def read(path: Path, split: str) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    with h5py.File(path) as file:
        return file[split]["images"][:], file[split]["labels"][:]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Raw images, handled four at a time."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * ROW + 5)
    write_source(tmp_path / "images.h5", COUNTS)
    return tmp_path / "images.h5"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "perturbed.h5"


@each_setting
def test_chunks_give_what_the_method_gives_at_once(source: Path, target: Path, settings: Perturb) -> None:
    key, copies = new_key(0), Copies()
    perturb_file(source, target, settings, key)
    for split in COUNTS:
        raw, labels = read(source, split)
        images, kept = read(target, split)
        expected = perturbation(settings, SIZE, key).apply(raw.copy(), copies)
        assert images.dtype == expected.dtype
        assert np.array_equal(images, expected)
        assert np.array_equal(kept, labels)


def test_the_chunks_are_small(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int, int]] = []
    original = store.Writer.write

    def spy(self: store.Writer, split: str, start: int, images: store.Array, labels: NDArray[np.int64]) -> None:
        written.append((split, start, len(images)))
        original(self, split, start, images, labels)

    monkeypatch.setattr(store.Writer, "write", spy)
    perturb_file(source, target, SCRAMBLE, new_key(0))
    assert written == [
        ("train", 0, 4),
        ("train", 4, 4),
        ("train", 8, 3),
        ("val", 0, 3),
        ("test", 0, 4),
        ("test", 4, 3),
    ]


@each_setting
def test_the_header_says_what_was_done(source: Path, target: Path, settings: Perturb) -> None:
    perturb_file(source, target, settings, new_key(0))
    exact = settings.method in ("none", "gaussian_blur", "block_scramble")
    with h5py.File(target) as file:
        attrs = dict(file.attrs)
        assert file["train"]["images"].dtype == (np.uint8 if exact else np.float16)
    assert attrs.pop("class_names").tolist() == [b"ant", b"bee"]
    assert attrs.pop("image_range").tolist() == ([0, 255] if exact else [0, 1])
    assert attrs == {
        "format": b"privpipe-perturbed",
        "format_version": 2,
        "method": settings.method.encode(),
        "k": settings.k,
        "scope": settings.scope.encode(),
        "sigma": settings.sigma if "noise" in settings.method else 0.0,
        "key_fingerprint": b"" if settings.method in ("none", "gaussian_blur") else new_key(0).fingerprint.encode(),
        "salt": b"",
    }


@each_setting
def test_metrics(source: Path, target: Path, settings: Perturb) -> None:
    key = new_key(0)
    metrics = perturb_file(source, target, settings, key)
    assert set(metrics) == {"n_train", "n_val", "n_test", "bytes", "rms_change", "key_fingerprint", "key_research"}
    assert {split: metrics[f"n_{split}"] for split in COUNTS} == COUNTS
    assert metrics["key_fingerprint"] == key.fingerprint
    with h5py.File(target) as file:
        assert metrics["bytes"] == sum(file[split]["images"].nbytes for split in COUNTS)
        white = file.attrs["image_range"][1]
    differences = [
        (read(target, split)[0].astype(np.float64) * 255 / white - read(source, split)[0]).ravel() for split in COUNTS
    ]
    expected = np.sqrt(np.mean(np.concatenate(differences) ** 2))
    assert metrics["rms_change"] == pytest.approx(expected, abs=0.005 * (1 + 1e-5))
    assert (metrics["rms_change"] == 0) == (settings.method == "none")


@pytest.mark.parametrize("count", [0, 1, 700])
def test_the_squared_change_of_levels_is_exact(count: int) -> None:
    rng = np.random.default_rng(count)
    one, two = rng.integers(0, 256, (2, count, 32, 32, 3), np.uint8)
    assert squared_change(one, two, 1.0) == np.square(one.astype(np.int64) - two).sum()
    assert squared_change(np.zeros_like(one), np.full_like(one, 255), 1.0) == 255**2 * one.size


def test_the_squared_change_of_units() -> None:
    rng = np.random.default_rng(0)
    images, units = rng.integers(0, 256, (70, 32, 32, 3), np.uint8), rng.normal(size=(70, 32, 32, 3)).astype(np.float16)
    expected = np.square(units.astype(float) * 255 - images).sum()
    assert squared_change(images, units, 255.0) == pytest.approx(expected, rel=1e-6)


def test_noise_changes_the_images_by_about_its_sigma(source: Path, target: Path) -> None:
    settings = Perturb(method="gaussian_noise", k=1, scope="image", sigma=25.0)
    metrics = perturb_file(source, target, settings, new_key(0))
    values = sum(COUNTS.values()) * ROW
    assert metrics["rms_change"] == pytest.approx(25, abs=4 * 25 / np.sqrt(2 * values))


@each_setting
def test_the_same_inputs_give_the_same_bytes(source: Path, tmp_path: Path, settings: Perturb) -> None:
    paths = [tmp_path / "one.h5", tmp_path / "folder" / "another name.h5"]
    for path in paths:
        perturb_file(source, path, settings, new_key(5))
    assert paths[0].read_bytes() == paths[1].read_bytes()


@each_setting
def test_no_key_is_in_what_leaves(source: Path, tmp_path: Path, settings: Perturb) -> None:
    key = new_key(SEED)
    perturb_file(source, tmp_path / "one.h5", settings, key)
    content = (tmp_path / "one.h5").read_bytes()
    secrets = [key.secret, key.secret.hex().encode(), key.secret.hex().upper().encode()]
    secrets += [str(SEED).encode(), SEED.to_bytes(8, "little"), SEED.to_bytes(8, "big"), str(tmp_path).encode()]
    for secret in secrets:
        assert secret not in content
    with h5py.File(tmp_path / "one.h5") as file:  # a hash of 256 bits, which tells keys apart and nothing else
        assert content.count(key.fingerprint.encode()) == bool(file.attrs["key_fingerprint"])


@pytest.mark.parametrize("name", ["none", "gaussian_blur"])
def test_a_keyless_file_does_not_depend_on_the_key(source: Path, tmp_path: Path, name: str) -> None:
    settings = Perturb(method=name, k=3, scope="dataset", sigma=0.0)
    perturb_file(source, tmp_path / "one.h5", settings, new_key(0))
    perturb_file(source, tmp_path / "other.h5", settings, new_key(None))
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


@each_setting
def test_only_images_and_the_fingerprint_depend_on_the_key(
    source: Path, tmp_path: Path, settings: Perturb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files with different keys become the same bytes once their images and the checksums are blanked."""
    monkeypatch.setattr(Key, "fingerprint", "0123456789abcdef")
    contents = []
    for name, key in (("one.h5", new_key(0)), ("other.h5", new_key(1))):
        perturb_file(source, tmp_path / name, settings, key)
        content = bytearray((tmp_path / name).read_bytes())
        content[:512] = content[:512].split(b"xxh3_64")[0].ljust(512)
        with h5py.File(tmp_path / name) as file:
            for data in (file[split][what] for split in COUNTS for what in ("images", "digests")):
                content[data.id.get_offset() : data.id.get_offset() + data.nbytes] = bytes(data.nbytes)
        contents.append(bytes(content))
    assert contents[0] == contents[1]


def test_block_permutations_are_not_in_the_file(source: Path, target: Path) -> None:
    key = new_key(0)
    perturb_file(source, target, SCRAMBLE, key)
    permutations = perturbation(SCRAMBLE, SIZE, key).permutations
    for kind in (np.uint8, np.int32, np.int64):
        assert permutations[0].astype(kind).tobytes() not in target.read_bytes()


@pytest.mark.parametrize("key", [new_key(0), new_key(None)], ids=["research", "real"])
def test_the_key_undoes_it(source: Path, target: Path, key: Key) -> None:
    perturb_file(source, target, SCRAMBLE, key)
    method = perturbation(SCRAMBLE, SIZE, key)
    for split in COUNTS:
        assert np.array_equal(method.invert(read(target, split)[0], method.dataset_key), read(source, split)[0])


def test_the_key_of_a_perturbed_file_is_told_from_others(source: Path, target: Path) -> None:
    perturb_file(source, target, SCRAMBLE, new_key(0))
    check_perturbed_with(target, new_key(0))
    with pytest.raises(PrivpipeError, match=rf"perturbed\.h5, which was made with {new_key(0).fingerprint}"):
        check_perturbed_with(target, new_key(1))
    perturb_file(source, target, Perturb(method="none", k=1, scope="dataset", sigma=0.0), new_key(0))
    check_perturbed_with(target, new_key(1))  # no key was involved


def test_a_missing_source(tmp_path: Path, target: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"images\.h5 is missing"):
        perturb_file(tmp_path / "images.h5", target, SCRAMBLE, new_key(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_damaged_source_leaves_the_target_as_it_was(source: Path, target: Path, kept: float) -> None:
    content = source.read_bytes()
    source.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    target.write_bytes(b"what was there")
    with pytest.raises(PrivpipeError, match=r"images\.h5 is damaged"):
        perturb_file(source, target, SCRAMBLE, new_key(0))
    assert target.read_bytes() == b"what was there"


def test_labels_of_no_class_are_refused(source: Path, target: Path) -> None:
    with h5py.File(source, "r+") as file:
        file["test"]["labels"][2] = 2
    reseal(source)
    with pytest.raises(PrivpipeError, match=r"images\.h5 is damaged: test/labels has values outside 0\.\.1"):
        perturb_file(source, target, SCRAMBLE, new_key(0))
    assert not target.exists()


def test_perturbed_images_are_not_perturbed_again(source: Path, target: Path, tmp_path: Path) -> None:
    perturb_file(source, target, SCRAMBLE, new_key(0))
    with pytest.raises(PrivpipeError, match="must be a privpipe-images file; its format is 'privpipe-perturbed'"):
        perturb_file(target, tmp_path / "twice.h5", SCRAMBLE, new_key(0))
    assert not (tmp_path / "twice.h5").exists()


def test_images_that_are_not_square(tmp_path: Path, target: Path) -> None:
    images = RawImages(np.zeros((3, 8, 12, 3), np.uint8), np.zeros(3, np.int64), NAMES)
    rows = {split: np.array([i]) for i, split in enumerate(COUNTS)}
    write_images(tmp_path / "wide.h5", images, images, rows)
    with pytest.raises(PrivpipeError, match=r"wide\.h5 has images of 8x12; they must be square"):
        perturb_file(tmp_path / "wide.h5", target, SCRAMBLE, new_key(0))


def test_failing_half_way_leaves_no_half_file(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(b"what was there")
    settings = Perturb(method="gaussian_noise", k=1, scope="image", sigma=25.0)
    method = type(perturbation(settings, SIZE, new_key(0)))
    original, calls = method.apply, []

    def fail_late(self: object, images: NDArray[np.uint8], copies: Copies) -> NDArray[np.float16]:
        calls.append(len(images))
        if len(calls) == 4:  # the first chunk of val
            raise PrivpipeError("too large for float16")
        return original(self, images, copies)

    monkeypatch.setattr(method, "apply", fail_late)
    with pytest.raises(PrivpipeError, match="too large for float16"):
        perturb_file(source, target, settings, new_key(0))
    assert target.read_bytes() == b"what was there"
    assert {path.name for path in target.parent.iterdir()} == {"images.h5", "perturbed.h5"}


def peak(tmp_path: Path, count: int, settings: Perturb) -> int:
    """Bytes of memory in use at most while `count` training images are perturbed."""
    write_source(tmp_path / "images.h5", {"train": count, "val": 1, "test": 1})
    tracemalloc.start()
    try:
        perturb_file(tmp_path / "images.h5", tmp_path / "perturbed.h5", settings, new_key(0))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["block_scramble", "random_filter", "gaussian_noise"])
def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 100 * ROW)
    settings = Perturb(method=name, k=1, scope="dataset", sigma=1.0)
    peak(tmp_path, 200, settings)  # whatever is made on first use
    few, many = peak(tmp_path, 200, settings), peak(tmp_path, 4000, settings)
    images = 3800 * ROW
    labels = 3800 * 8
    assert many - few < 2 * labels + images / 20


@pytest.mark.parametrize("progress", [True, False])
def test_on_a_terminal_the_bar_shows_unless_switched_off(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    perturb_file(source, source.with_name("perturbed.h5"), SCRAMBLE, new_key(SEED), progress)
    assert ("perturb" in capsys.readouterr().err) == progress


@pytest.mark.parametrize("name", ["block_scramble", "random_filter", "block_mix", "gaussian_noise", "correlated_noise"])
def test_equal_images_of_a_file_do_not_show(
    name: str, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * ROW + 5)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    source, k = tmp_path / "equal.h5", 3 if name in ("random_filter", "correlated_noise") else 4
    header = store.Header(store.RAW, "none", 1, "dataset", ("a", "b"), (0.0, 255.0), image.shape, "uint8")
    with store.create(source, header, COUNTS) as writer:
        for split, count in COUNTS.items():
            writer.write(split, 0, np.stack(count * [image]), np.zeros(count, np.int64))
    perturb_file(source, target, Perturb(method=name, k=k, scope="image", sigma=25.0), new_key(0))
    rows = [row.tobytes() for split in COUNTS for row in read(target, split)[0]]
    assert len(set(rows)) == sum(COUNTS.values())


@pytest.mark.parametrize("name", ["block_scramble", "random_filter", "block_mix", "gaussian_noise", "correlated_noise"])
def test_a_set_that_grew_is_released_as_before(name: str, source: Path, tmp_path: Path, target: Path) -> None:
    settings = Perturb(
        method=name, k=3 if name in ("random_filter", "correlated_noise") else 4, scope="image", sigma=25
    )
    key, grown = new_key(0), tmp_path / "grown.h5"
    new = np.full((1, SIZE, SIZE, 3), 7, np.uint8)
    with (
        store.open_store(source, store.RAW) as raw,
        store.create(grown, raw.header, {**COUNTS, "train": COUNTS["train"] + 1}) as writer,
    ):
        for split in COUNTS:
            images, labels = raw.images(split), raw.labels(split)
            if split == "train":  # a new first image: every other stands one row further
                images, labels = np.concatenate([new, images]), np.concatenate([labels[:1], labels])
            writer.write(split, 0, images, labels)
    perturb_file(source, target, settings, key)
    perturb_file(grown, tmp_path / "second.h5", settings, key)
    for split in COUNTS:
        rows = slice(1, None) if split == "train" else slice(None)
        assert np.array_equal(read(tmp_path / "second.h5", split)[0][rows], read(target, split)[0])
