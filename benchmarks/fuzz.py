"""Feed every reader mutated files: each must be read right or refused with our own error, never crash or hang.

    python benchmarks/fuzz.py                      # 2,000 inputs per reader
    python benchmarks/fuzz.py --count 50 store     # a short run of one
    python benchmarks/fuzz.py --flips 2000         # single flipped bits in files with checksums: none may be read

Each reader works in a process of its own, so that a crash of a C library is seen and counted: the input is named by
reader, seed and number, and `--only NUMBER` runs it again. Exit code 1 if anything crashed, hung or raised an error
that is not ours.
"""

import gzip
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import click
import numpy as np

from privpipe.errors import PrivpipeError

HANG_SECONDS = 20
SIZE = 8


@dataclass(frozen=True)
class Reader:
    """A reader to feed.

    Args:
        samples: writes valid files into a folder.
        read: reads one and checks that what comes out keeps the promises of the reader's documentation.
    """

    samples: Callable[[Path], list[Path]]
    read: Callable[[Path], None]


def archive_samples(folder: Path) -> list[Path]:
    """A small python archive and a small binary one."""
    import pickle
    import tarfile

    rng = np.random.default_rng(0)
    names = [f"class{i}" for i in range(10)]
    members: dict[str, dict[str, bytes]] = {"python": {}, "binary": {}}
    for role in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data, labels = rng.integers(0, 256, (3, 3072), dtype=np.uint8), rng.integers(0, 10, 3)
        batch = {b"data": data, b"labels": labels.tolist()}
        members["python"][f"cifar-10-batches-py/{role}"] = pickle.dumps(batch, protocol=2)
        rows = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, data, strict=True))
        members["binary"][f"cifar-10-batches-bin/{role}.bin"] = rows
    members["python"]["cifar-10-batches-py/batches.meta"] = pickle.dumps({"label_names": names}, protocol=2)
    members["binary"]["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(names).encode()
    paths = []
    for kind, files in members.items():
        # Uncompressed gzip, so that a mutation reaches the content and not only its checksum.
        path = folder / f"{kind}.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=0) as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
        paths.append(path)
    return paths


def read_archive(path: Path) -> None:
    from privpipe.data.archive import read_archive as read

    for part in read(path):
        assert part.images.dtype == np.uint8 and part.images.shape[1:] == (32, 32, 3)
        assert len(part.labels) == len(part.images) and 0 <= part.labels.min() <= part.labels.max() < 10
        assert len(part.class_names) == 10


def store_samples(folder: Path) -> list[Path]:
    """A perturbed file of each type."""
    from privpipe.store import PERTURBED, SPLITS, Header, create

    rng, paths = np.random.default_rng(0), []
    for dtype, top in (("uint8", 255.0), ("float16", 1.0)):
        path = folder / f"{dtype}.h5"
        header = Header(PERTURBED, "none", 1, "dataset", ("a", "b", "c"), (0.0, top), (SIZE, SIZE, 3), dtype)
        with create(path, header, dict.fromkeys(SPLITS, 4)) as writer:
            for split in SPLITS:
                images = (rng.random((4, SIZE, SIZE, 3)) * top).astype(dtype)
                writer.write(split, 0, images, rng.integers(0, 3, 4))
        paths.append(path)
    return paths


def read_store(path: Path) -> None:
    from privpipe.store import PERTURBED, SPLITS, open_store

    with open_store(path, PERTURBED) as store:
        for split in SPLITS:
            images, labels = store.images(split), store.labels(split)
            assert images.shape == (len(labels), *store.header.shape) and str(images.dtype) == store.header.dtype
            assert np.isfinite(images).all()
            assert not len(labels) or 0 <= labels.min() <= labels.max() < len(store.header.class_names)


def key_samples(folder: Path) -> list[Path]:
    """A real key and a research key, and a reference to each."""
    from privpipe.owner.key import new_key, write_key, write_reference

    paths = [folder / f"{name}.json" for name in ("real", "research", "reference", "research_reference")]
    for path, seed in zip(paths, (None, 7) * 2, strict=True):
        (write_reference if "reference" in path.name else write_key)(path, new_key(seed))
    return paths


def read_key(path: Path) -> None:
    from privpipe.owner.key import read_any as read

    key = read(path)
    assert key.fingerprint in json.loads(path.read_text())["fingerprint"]


def model_samples(folder: Path) -> list[Path]:
    """A small model of each architecture."""
    import torch

    from privpipe.networks.base import Architecture
    from privpipe.nn.bundle import Bundle, save_bundle
    from privpipe.nn.inference import Normalisation
    from privpipe.nn.models import build

    paths = []
    for arch, k in (("three_layer", 1), ("descrambler", 4)):
        architecture = Architecture(arch, SIZE, 3, 3, k)
        model = build(architecture, torch.Generator().manual_seed(0))
        normalise = Normalisation(torch.zeros(3), torch.ones(3))
        names = ("a", "b", "c")
        bundle = Bundle(model, normalise, architecture, names, "block_scramble", 4, "dataset", "uint8", (0.0, 255.0))
        paths.append(folder / f"{arch}.safetensors")
        save_bundle(paths[-1], bundle)
    return paths


def read_model(path: Path) -> None:
    import torch

    from privpipe.nn.bundle import load_bundle
    from privpipe.nn.inference import predict

    bundle = load_bundle(path)
    size, channels = bundle.architecture.image_size, bundle.architecture.channels
    scores = predict(bundle.model, bundle.normalise, torch.zeros(1, size, size, channels, dtype=torch.uint8))
    assert scores.shape == (1, len(bundle.class_names))


def image_samples(folder: Path) -> list[Path]:
    """An image of each format, and of several modes."""
    from PIL import Image

    rng, paths = np.random.default_rng(0), []
    image = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    for suffix, mode in (
        ("png", "RGB"),
        ("png", "P"),
        ("png", "LA"),
        ("png", "I;16"),
        ("jpg", "RGB"),
        ("jpg", "CMYK"),
        ("bmp", "RGB"),
        ("tif", "RGBA"),
        ("webp", "RGB"),
    ):
        path = folder / f"{mode.replace(';', '')}.{suffix}"
        converted = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
        converted.save(path)
        paths.append(path)
    return paths + lab_samples(folder)


def lab_samples(folder: Path) -> list[Path]:
    """TIFF of the kinds that tifffile decodes, and DICOM."""
    import tifffile
    from pydicom.uid import RLELossless

    sys.path.insert(0, str(Path(__file__).parents[1]))  # where this file is run as a program
    from benchmarks.lab.dicom import dataset

    deep = np.random.default_rng(0).integers(0, 65536, (3, 16, 16), np.uint16)
    tifffile.imwrite(folder / "planes.tif", deep, photometric="rgb")
    tifffile.imwrite(folder / "lzw.tif", deep[0], compression="lzw", predictor=True)
    tifffile.imwrite(folder / "tiles.tif", deep[0], tile=(16, 16), bigtiff=True, compression="zlib")
    tifffile.imwrite(folder / "packed.tif", deep[0] >> 4, bitspersample=12)
    tifffile.imwrite(folder / "stack.ome.tif", deep, ome=True, metadata={"axes": "ZYX"})
    dataset(deep[0] >> 4, "MONOCHROME1", BitsStored=12, WindowCenter=9, WindowWidth=99).save_as(folder / "x.dcm")
    dataset(deep[0], "MONOCHROME2", RLELossless).save_as(folder / "rle.dcm")
    names = ("planes.tif", "lzw.tif", "tiles.tif", "packed.tif", "stack.ome.tif", "x.dcm", "rle.dcm")
    return [folder / name for name in names]


def read_image(path: Path) -> None:
    from privpipe.data.image_files import read_image as read
    from privpipe.reading import Reading

    image = read(path, SIZE, Reading(stack="max"))
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8


def raw_samples(folder: Path) -> list[Path]:
    """A file of raw images, with a salt."""
    from privpipe.store import RAW, SPLITS, Header, create

    header = Header(RAW, "none", 1, "dataset", ("a", "b"), (0.0, 255.0), (SIZE, SIZE, 3), "uint8", salt="5a" * 16)
    rng = np.random.default_rng(0)
    with create(folder / "raw.h5", header, dict.fromkeys(SPLITS, 100)) as writer:
        for split in SPLITS:
            writer.write(split, 0, rng.integers(0, 256, (100, SIZE, SIZE, 3), np.uint8), rng.integers(0, 2, 100))
    return [folder / "raw.h5"]


def record_samples(folder: Path) -> list[Path]:
    """Reconstructions of two attacks."""
    from privpipe.attacks.records import Record, save_records

    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3))
    records = [Record("L0", "one", 0, 9, 1.5, 0.5, images, np.arange(64)), Record("L2", "two", 9, 9, 1.5, problem="no")]
    save_records(folder / "records.h5", records)
    return [folder / "records.h5"]


def verify(path: Path) -> None:
    from privpipe.cli.verification import verify_file

    verify_file(path)


# Files with checksums: perturbed, raw, models (the three kinds that cross or are kept), and reconstructions.
CHECKED = {"store": store_samples, "raw": raw_samples, "model": model_samples, "records": record_samples}
READERS = {
    "archive": Reader(archive_samples, read_archive),
    "store": Reader(store_samples, read_store),
    "key": Reader(key_samples, read_key),
    "model": Reader(model_samples, read_model),
    "image": Reader(image_samples, read_image),
}


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file: flip bits, overwrite or insert bytes (often telling ones), cut, repeat or move a piece."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        if not data:
            break
        # Formats keep what matters most at the beginning.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 1024)
        at, length = int(rng.integers(reach)), int(rng.integers(1, 17))
        match int(rng.integers(7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + length] = rng.bytes(length)
            case 2:
                telling = (b"\x00", b"\xff", b"\x7f", b"\x80", b"9", b"-", b'"', b"{")
                data[at : at + length] = telling[int(rng.integers(len(telling)))] * length
            case 3:
                del data[at:]
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length * 8]
            case 6:
                other = int(rng.integers(len(data)))
                data[at : at + length] = data[other : other + length]
    return bytes(data)


def damaged(folder: Path, samples: list[Path], seed: int, number: int) -> Path:
    """Write input `number` of a run into `folder`; the same arguments give the same input."""
    rng = np.random.default_rng([seed, number])
    sample = samples[number % len(samples)]
    path = folder / f"input{sample.suffix if sample.suffix != '.gz' else '.tar.gz'}"
    content = sample.read_bytes()
    if sample.suffix == ".h5" and number % 4 >= 2:
        return resealed(sample, path, mutate(content, rng))
    if sample.suffix == ".gz" and number % 4 >= 2:
        # Under gzip's checksum, so that the damage reaches the readers of tar and pickle.
        content = gzip.compress(mutate(gzip.decompress(content), rng), compresslevel=0)
    else:
        content = mutate(content, rng)
    path.write_bytes(content)
    return path


def resealed(sample: Path, path: Path, content: bytes) -> Path:
    """Write damaged `content` with checksums that fit it, so that the damage reaches what comes after them."""
    from privpipe.checksum import USER_BLOCK, check, seal

    path.write_bytes(content)
    with sample.open("rb") as file:
        places = check(file.fileno())
    try:
        seal(path, places)
    except ValueError:  # it is too short for the images
        if len(content) >= USER_BLOCK:
            seal(path)
    return path


def flips(count: int, seed: int) -> int:
    """Flip a bit of each kind of file with checksums, `count` times in all, and print how often that was noticed.

    Returns:
        How many were not noticed, or raised an error that is not ours.
    """
    rng, missed = np.random.default_rng(seed), 0
    print(f"{'file':<10}{'bits':>10}{'flips':>8}{'noticed':>9}")
    with tempfile.TemporaryDirectory() as name:
        for number, (kind, samples) in enumerate(CHECKED.items()):
            paths = samples(Path(name))
            tally: Counter[str] = Counter()
            tries = count // len(CHECKED) + (number < count % len(CHECKED))
            for i in range(tries):
                path = paths[i % len(paths)]
                content = path.read_bytes()
                changed, bit = bytearray(content), int(rng.integers(8 * len(content)))
                changed[bit // 8] ^= 1 << bit % 8
                path.write_bytes(changed)
                try:
                    verify(path)
                    print(f"{path.name} bit {bit}: not noticed")
                except PrivpipeError:
                    tally["noticed"] += 1
                path.write_bytes(content)
            missed += tries - tally["noticed"]
            bits = sum(8 * path.stat().st_size for path in paths)
            print(f"{kind:<10}{bits:>10,}{tries:>8,}{tally['noticed']:>9,}", flush=True)
    return missed


def outcome(reader: str, path: Path) -> str:
    """How the reader takes an input: `read`, `refused`, or what went wrong."""
    try:
        READERS[reader].read(path)
    except PrivpipeError:
        return "refused"
    except Exception as error:  # whatever else comes is the finding
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    return "read"


def work(reader: str, seed: int, numbers: range) -> None:
    """Run inputs in this process, printing the number before and the outcome after each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "samples").mkdir()
        samples = READERS[reader].samples(folder / "samples")
        for number in numbers:
            print(number, end="\t", flush=True)
            signal.alarm(HANG_SECONDS)  # its default action ends the process, even within a C library
            print(outcome(reader, damaged(folder, samples, seed, number)), flush=True)
            signal.alarm(0)


def run(reader: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Feed a reader `count` inputs; how many were read, refused or failed, and a line on each failure."""
    tally: Counter[str] = Counter()
    failures = []
    start = 0
    while start < count:
        command = [sys.executable, __file__, reader, "--count", str(count), "--seed", str(seed), "--from", str(start)]
        done = subprocess.run([*command, "--worker"], capture_output=True, text=True)
        lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
        if not lines:
            raise RuntimeError(f"the worker of {reader} did not start:\n{done.stderr}")
        for number, what in lines:
            if what in ("read", "refused"):
                tally[what] += 1
            else:
                kind = what or ("hung" if done.returncode == -signal.SIGALRM else f"crashed ({done.returncode})")
                tally["failed"] += 1
                failures.append(f"{reader} seed {seed} input {number}: {kind}")
        start = int(lines[-1][0]) + 1
    return tally, failures


@click.command(help=__doc__)
@click.argument("readers", nargs=-1, type=click.Choice(list(READERS)))
@click.option("--count", default=2000, show_default=True, help="inputs per reader")
@click.option("--seed", default=0, show_default=True)
@click.option("--from", "start", default=0, hidden=True)
@click.option("--only", type=int, help="run this input alone, in this process")
@click.option("--worker", is_flag=True, hidden=True)
@click.option("--flips", "flip_count", type=int, help="flip so many single bits in files with checksums instead")
def main(
    readers: tuple[str, ...],
    count: int,
    seed: int,
    start: int,
    only: int | None,
    worker: bool,
    flip_count: int | None,
) -> None:
    if flip_count is not None:
        sys.exit(bool(flips(flip_count, seed)))
    if only is not None or worker:
        work(readers[0], seed, range(start, count) if only is None else range(only, only + 1))
        return
    problems = []
    print(f"{'reader':<10}{'inputs':>8}{'refused':>9}{'read':>7}{'failed':>8}")
    for reader in readers or READERS:
        tally, failures = run(reader, count, seed)
        print(f"{reader:<10}{count:>8}{tally['refused']:>9}{tally['read']:>7}{tally['failed']:>8}", flush=True)
        problems += failures
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
