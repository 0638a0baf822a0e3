"""A set that leaves its range unused is warned of, and how images were read is said in words."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from privpipe.data.audit import Audit, Used
from privpipe.data.folder import scan
from privpipe.data.folder_file import write_folder
from privpipe.data.folder_split import split_folder
from privpipe.data.summary import in_words, summary
from privpipe.reading import Range, Reading

TWO = ("DAPI", "2")


def audited(folder: Path, highs: tuple[int, ...], reading: Reading) -> Audit:
    """The audit of eight files of 16 bits whose channels hold any values up to these."""
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(4):
            planes = np.random.default_rng(i).integers(0, highs, (16, 16, len(highs)), np.uint16, endpoint=True)
            meta = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}} if len(highs) > 1 else None
            values = np.moveaxis(planes, 2, 0) if len(highs) > 1 else planes[..., 0]
            tifffile.imwrite(folder / "images" / name / f"{i}.ome.tif", values, ome=True, metadata=meta)
    index, audit = scan(folder / "images"), Audit("ignore", reading)
    rows = split_folder(index, None, 2, None, np.random.default_rng(0))
    write_folder(folder / "images.h5", index, rows, 16, reading=reading, audit=audit)
    return audit


def test_a_set_that_leaves_its_range_unused_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = audited(tmp_path, (4095,), Reading())
    assert audit.used() == [Used("", 0, 16)]
    audit.warn_of_range()
    assert caplog.messages[-1].startswith(
        "The images are nearly black: but for outliers, they use less than a quarter of the levels 0 to 255 (0 to 16), "
        "so that little is left to classify or to attack. Most often, 16-bit files hold the 10, 12 or 14 bits of a"
    )
    assert caplog.messages[-1].endswith(
        "with data.range=set, black and white are percentiles over the training images."
    )
    about = summary(scan(tmp_path / "images"), audit, Reading(), 16, tmp_path)
    assert about["range_warning"] == caplog.messages[-1]
    assert about["used_levels"] == [{"channel": "", "low": 0, "high": 16}]


def test_channels_are_looked_at_each_by_itself(tmp_path: Path) -> None:
    audit = audited(tmp_path, (65535, 4095), Reading(channels=TWO))
    dapi, other = audit.used()
    assert (dapi.channel, dapi.low, dapi.high >= 254) == ("DAPI", 0, True)
    assert (other.channel, other.low) == ("2", 0) and other.high in (15, 16)
    assert audit.range_warning().startswith("Some channels of the images are nearly black: but for outliers, they use")
    assert f"(channel 2: 0 to {other.high})" in audit.range_warning()


def test_a_set_that_uses_its_range_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = audited(tmp_path, (65535, 30000), Reading(channels=TWO))
    audit.warn_of_range()
    assert (audit.range_warning(), caplog.messages) == ("", [])


@pytest.mark.parametrize("range_", ["set", "image"])
def test_with_percentiles_the_remedy_is_another_one(range_: Range) -> None:
    audit, nothing = Audit("ignore", Reading(range=range_)), np.empty(0, np.int64)
    audit.see("train", nothing, [], nothing, np.full((1, 8, 8, 3), 200, np.uint8))
    assert audit.range_warning().startswith("The images are of very little contrast: ")
    assert audit.range_warning().endswith("raise data.saturated.")


READINGS = {
    Reading(): ("Colours are those of the files", "A file of several planes", "as each file declares them"),
    Reading(("composite",), "max", "type"): ("each in its colour", "maximum projection", "type of number can hold"),
    Reading(("GFP",), "first", "image"): ("channel GFP was taken, as grey", "the first one", "0.1 % of the values are"),
    Reading(("1", "3"), limits=((10.0, 900.0), (95.5, 2710.0)), range="set"): (
        "the channels 1, 3 were taken; images here show them as red and green.",
        "is not taken",
        "are the values 10 and 900 in channel 1, 95.5 and 2710 in channel 3: in the training images, 0.1 % of",
    ),
    Reading(("composite",), limits=((10.0, 900.0), (95.5, 2710.0)), range="set"): (
        "each in its colour",
        "is not taken",
        "are the values 10 and 900 in channel 1, 95.5 and 2710 in channel 2: in the training images, 0.1 % of",
    ),
    Reading(limits=((10.0, 900.0),), range="set"): ("grey was put", "planes", "are the values 10 and 900: in the"),
}


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: f"{reading.channels[0]}-{reading.range}")
def test_how_images_were_read_is_said_in_words(reading: Reading) -> None:
    expected = (*READINGS[reading], "cut to the square in its middle, and resized to 48×48")
    for sentence, words in zip(in_words(reading, 48), expected, strict=True):
        assert words in sentence
