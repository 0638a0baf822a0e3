"""A part of the layouts of `python -m benchmarks.lab_formats`, and what no layout can show."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

# The benchmarks are no part of the package that is installed, so the path comes before the imports (E402).
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lab.dicom import dataset
from benchmarks.lab.layout import SIZE, Layout, noise
from benchmarks.lab_formats import REFUSED, SEEN, layouts, outcome
from privpipe.data.image_files import read_image, sample_values
from privpipe.data.sample import Sample
from privpipe.errors import PrivpipeError
from privpipe.reading import Reading

EVERY = 7
LAYOUTS = list(layouts())


def test_there_are_many_layouts_of_five_libraries() -> None:
    assert len(LAYOUTS) >= 1000
    assert {layout.library for layout in LAYOUTS} == {"tifffile", "pydicom", "Pillow", "OpenCV", "scikit-image"}
    assert len({(layout.library, layout.kind, layout.name) for layout in LAYOUTS}) == len(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS[::EVERY], ids=lambda layout: f"{layout.library}: {layout.name}")
def test_a_file_comes_in_as_it_is_seen_or_is_refused(tmp_path: Path, layout: Layout) -> None:
    result, detail = outcome(layout, tmp_path)
    assert result == (SEEN if layout.expected else REFUSED), detail


def test_nothing_of_a_patient_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither where a file is read, nor where it is refused, nor where it is damaged anywhere."""
    data = dataset(noise("u1", SIZE, SIZE), "MONOCHROME2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.PatientBirthDate = "not a date, of Doe"
        data.save_as(tmp_path / "sound.dcm", enforce_file_format=True)
    content = (tmp_path / "sound.dcm").read_bytes()
    messages = []
    for place in range(132, len(content), 17):
        broken = tmp_path / "x.dcm"
        broken.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_image(broken, SIZE)
        except PrivpipeError as error:
            messages.append(str(error))
    assert messages
    said = "\n".join(messages) + "".join(capsys.readouterr())
    assert "Doe" not in said and "Jane" not in said and "12345" not in said


@pytest.mark.parametrize("dtype", ["u2", "i2"])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_stored_bits_are_found_wherever_they_begin(dtype: str, high: int, tmp_path: Path) -> None:
    low = high - 11
    values = noise("u2", SIZE, SIZE).astype(dtype) >> 4  # twelve bits, of "i2" with their sign
    words = (values << low) | ((1 << low) - 1)  # what stands below is not of the image
    for name, stored, tags in (("low", values, {}), ("high", words, {"HighBit": high})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of such a high bit
            file = dataset(stored.astype(dtype), "MONOCHROME2", BitsStored=12, **tags)
            file.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    seen = read_image(tmp_path / "high.dcm", SIZE)
    assert np.ptp(seen) > 200
    np.testing.assert_array_equal(seen, read_image(tmp_path / "low.dcm", SIZE))


def test_a_high_bit_outside_its_word_is_refused(tmp_path: Path) -> None:
    file = dataset(noise("u2", SIZE, SIZE), "MONOCHROME2", BitsStored=12, HighBit=16)
    file.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(PrivpipeError, match=r": cut short or damaged \("):
        read_image(tmp_path / "x.dcm", SIZE)


def ct(path: Path, values: NDArray[Any], kind: str = "MONOCHROME2", **tags: Any) -> Path:
    """Values of a tomograph, (H, W) or (frames, H, W) int16, stored 1024 higher."""
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024} | tags
    dataset((values + 1024).astype("i2"), kind, **tags).save_as(path, enforce_file_format=True)
    return path


def measured(path: Path) -> tuple[float, float]:
    sample = Sample(1, 3)
    sample.add(sample_values(path, SIZE, Reading(range="set"), sample))
    return sample.limits(0, common=True)


y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
OUTSIDE = y**2 + x**2 > (SIZE / 2) ** 2
PADDINGS: dict[str, tuple[int, dict[str, Any]]] = {  # values with the intercept, and tags
    "one value": (-3024, {"PixelPaddingValue": -2000}),
    "a value that is above the others": (31743, {"PixelPaddingValue": 32767}),
    "a range": (-2524, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1000}),
    "a range, from above": (-2524, {"PixelPaddingValue": -1000, "PixelPaddingRangeLimit": -2000}),
    "a range up to 0": (-1500, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 0}),
    "0, which is a value too": (-1024, {"PixelPaddingValue": 0}),
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_of_dicom_is_as_dark_as_the_darkest_of_the_image(tmp_path: Path, padding: str, inverted: bool) -> None:
    kind, (value, tags) = f"MONOCHROME{2 - inverted}", PADDINGS[padding]
    values = np.random.default_rng(0).integers(-1000, 1500, (SIZE, SIZE))
    rest = values[~OUTSIDE]
    expected = np.where(OUTSIDE, rest.max() if inverted else rest.min(), values)
    padded = ct(tmp_path / "padded.dcm", np.where(OUTSIDE, value, values), kind, **tags)
    plain = ct(tmp_path / "plain.dcm", expected, kind)
    assert measured(padded) == measured(plain) == (rest.min(), rest.max())
    window = {"WindowCenter": 200, "WindowWidth": 1000}
    for shown in ({}, window):
        ct(padded, np.where(OUTSIDE, value, values), kind, **tags, **shown)
        ct(plain, expected, kind, **shown)
        for reading in (Reading(), Reading(range="image"), Reading(range="type")):
            np.testing.assert_array_equal(read_image(padded, SIZE, reading), read_image(plain, SIZE, reading))
    assert (read_image(padded, SIZE, Reading(range="image", saturated=0))[OUTSIDE] == 0).all()


def test_an_image_of_padding_alone_stays(tmp_path: Path) -> None:
    values = np.full((SIZE, SIZE), 76)
    padded = ct(tmp_path / "padded.dcm", values, PixelPaddingValue=1100)
    np.testing.assert_array_equal(read_image(padded, SIZE), read_image(ct(tmp_path / "plain.dcm", values), SIZE))


def test_padding_that_is_given_by_its_bits(tmp_path: Path) -> None:
    """Of a signed value, as an unsigned one."""
    file = dataset(np.where(OUTSIDE, -2000, 100).astype("i2"), "MONOCHROME2")
    file.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    file.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert measured(tmp_path / "x.dcm") == (100, 100)


@pytest.mark.parametrize("value", [-3024, 31743])
def test_padding_of_a_frame_is_not_its_greatest_value(tmp_path: Path, value: int) -> None:
    values = np.random.default_rng(0).integers(-1000, 1500, (2, SIZE, SIZE))
    padded = values.copy()
    padded[0, OUTSIDE], padded[1, :4], padded[:, 0, 0] = value, value, value
    shown = np.ma.masked_equal(padded, value).max(axis=0)
    tags = {"NumberOfFrames": 2, "PixelPaddingValue": value + 1024}
    found = read_image(ct(tmp_path / "x.dcm", padded, **tags), SIZE, Reading(stack="max"))
    expected = ct(tmp_path / "plain.dcm", shown.filled(shown.min()))
    np.testing.assert_array_equal(found, read_image(expected, SIZE))


def test_frames_of_different_scales_have_no_greatest_value(tmp_path: Path) -> None:
    """Of 1000 and of 100 hundreds the second is greater, and the first as it is stored."""

    def frames(*slopes: int | None) -> Path:
        groups = []
        for slope in slopes:
            groups.append(Dataset())
            if slope is not None:
                scale = Dataset()
                scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = slope, 0, "US"
                groups[-1].PixelValueTransformationSequence = [scale]
        stored = np.stack([np.full((SIZE, SIZE), 1000), np.full((SIZE, SIZE), 100)]).astype("u2")
        file = dataset(stored, "MONOCHROME2", NumberOfFrames=2, PerFrameFunctionalGroupsSequence=groups)
        file.WindowCenter, file.WindowWidth, file.VOILUTFunction = 5000, 10000, "LINEAR_EXACT"
        file.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return tmp_path / "x.dcm"

    for slopes in ((1, 100), (1, None)):
        with pytest.raises(PrivpipeError, match=r"holds frames that are rescaled each in its own way; set data"):
            read_image(frames(*slopes), SIZE, Reading(stack="max"))
    assert (read_image(frames(4, 100), SIZE, Reading(stack="first")) == 102).all()  # 4000 of 0..10000
    assert (read_image(frames(4, 4), SIZE, Reading(stack="max")) == 102).all()


def test_without_the_optional_packages_the_group_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(noise("u1", SIZE, SIZE), "MONOCHROME2").save_as(tmp_path / "x.dcm", enforce_file_format=True)
    monkeypatch.setattr("privpipe.data.readers.dicom.find_spec", lambda name: None)
    with pytest.raises(PrivpipeError, match=r"needs the package pydicom: install it with `pip install 'privpipe\["):
        read_image(tmp_path / "x.dcm", SIZE)


def test_a_tiff_that_is_cut_short_is_not_filled_with_zeros(tmp_path: Path) -> None:
    import tifffile

    for name, options in [("plain", {}), ("tiled", {"tile": (16, 16)}), ("lzw", {"compression": "lzw"})]:
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, noise("u2", 64, 64), **options)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(PrivpipeError, match=r": cut short or damaged \("):
            read_image(path, 64)


def test_one_of_the_files_of_an_image_is_no_image(tmp_path: Path) -> None:
    """tifffile would give the whole image for each of them, and zeros for those that are not there."""
    import tifffile

    ids = {name: f"urn:uuid:00000000-0000-0000-0000-00000000000{name}" for name in "ab"}
    for prefix in ("", "OME:"):
        planes = "".join(
            f'<{prefix}TiffData FirstC="{c}" PlaneCount="1"><{prefix}UUID FileName="{name}.ome.tif">{ids[name]}'
            f"</{prefix}UUID></{prefix}TiffData>"
            for c, name in enumerate("ab")
        )
        for name in "ab":
            xml = (
                f'<?xml version="1.0"?><{prefix}OME xmlns{":OME" if prefix else ""}='
                f'"http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[name]}"><{prefix}Image ID="Image:0">'
                f'<{prefix}Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{SIZE}" SizeY="{SIZE}" '
                f'SizeC="2" SizeZ="1" SizeT="1">{planes}</{prefix}Pixels></{prefix}Image></{prefix}OME>'
            )
            path = tmp_path / f"{name}.ome.tif"
            tifffile.imwrite(path, noise("u2", SIZE, SIZE), description=xml, metadata=None)
        for reading in (Reading(), Reading(channels=(1, 2)), Reading(stack="first")):
            with pytest.raises(
                PrivpipeError, match=r"b\.ome\.tif: is one of the 2 files of an OME-TIFF, of which none"
            ):
                read_image(tmp_path / "b.ome.tif", SIZE, reading)
    (tmp_path / "a.ome.tif").unlink()
    with pytest.raises(PrivpipeError, match="is one of the 2 files of an OME-TIFF"):
        read_image(tmp_path / "b.ome.tif", SIZE)
    tifffile.imwrite(tmp_path / "whole.ome.tif", noise("u1", SIZE, SIZE), ome=True)  # which has one UUID at most
    assert read_image(tmp_path / "whole.ome.tif", SIZE).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["A & B", "<2 µm", 'the "red" one', "R&D &amp; more", "µ"])
def test_a_channel_is_called_as_it_was_named(tmp_path: Path, name: str) -> None:
    """XML writes some characters as others, such as & as &amp;."""
    import tifffile

    planes = noise("u1", 2, SIZE, SIZE)
    metadata = {"axes": "CYX", "Channel": {"Name": ["GFP", name]}}
    tifffile.imwrite(tmp_path / "x.ome.tif", planes, ome=True, metadata=metadata)
    found = read_image(tmp_path / "x.ome.tif", SIZE, Reading(channels=(name,)))
    np.testing.assert_array_equal(found[..., 0], planes[1])


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    import tifffile

    values = noise("f4", SIZE, SIZE)
    values[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(PrivpipeError, match=r"has values that are not finite \(NaN or infinite\); replace them first$"):
        read_image(tmp_path / "x.tif", SIZE, Reading(range="type"))
