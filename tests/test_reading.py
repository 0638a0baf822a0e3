"""A reading travels as text, and comes back the same."""

import json

import pytest

from privpipe.errors import PrivpipeError
from privpipe.reading import Reading

READINGS = [
    Reading(),
    Reading(channels=("DAPI", "2"), stack="max"),
    Reading(range="set", saturated=1.0, limits=((3.0, 900.5),)),
    Reading(channels=("1", "2"), range="set", limits=((0.0, 1.0), (-5.0, 70000.0))),
    Reading(channels=("composite",), range="image", saturated=0.35),
    Reading(range="type", stack="first"),
    *[Reading(channels=("composite",), range="set", limits=((0.0, 1.5),) * n) for n in range(1, 8)],
]


@pytest.mark.parametrize("reading", READINGS)
def test_the_text_gives_the_reading_back(reading: Reading) -> None:
    assert Reading.parse(reading.describe()) == reading


def test_the_usual_reading_leaves_no_trace() -> None:
    assert Reading().describe() == ""
    assert Reading(range="type").describe() != ""


def test_how_many_channels_come_out() -> None:
    assert [reading.count for reading in READINGS] == [3, 2, 3, 2, 3, 3, *[3] * 7]


def test_measured_limits_keep_six_digits_and_are_never_empty() -> None:
    reading = Reading(range="set").measured([1.23456789], [98765.4321])
    assert reading.limits == ((1.23457, 98765.4),)
    assert Reading(range="set").measured([7.0], [7.0]).limits == ((7.0, 8.0),)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        json.dumps({"channels": ["auto"], "stack": "refuse", "range": "declared"}),  # the usual one has no text
        json.dumps({"channels": ["auto"], "range": "none", "stack": "max"}),
        json.dumps({"channels": [], "range": "type", "stack": "max"}),
        json.dumps({"channels": ["1", "2", "3", "4", "5"], "range": "type", "stack": "max"}),
        json.dumps({"channels": ["1", "2"], "limits": [[0, 1]], "range": "set", "saturated": 0.1, "stack": "max"}),
        json.dumps({"channels": ["1"], "limits": [[1.0, 1.0]], "range": "set", "saturated": 0.1, "stack": "max"}),
        json.dumps({"channels": ["composite"], "range": "set", "saturated": 0.1, "stack": "max"}),
        Reading(channels=("composite",), range="set", limits=((0.0, 1.0),) * 8).describe(),
        Reading(channels=("composite",), range="image", limits=((0.0, 1.0),)).describe(),
        Reading(range="set", limits=((0.0, 1.0),) * 3).describe(),
        json.dumps({"channels": ["1"], "limits": [["a", 1]], "range": "set", "saturated": 0.1, "stack": "max"}),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PrivpipeError, match=r"^no reading of images is described by .*; make it again with `dvc"):
        Reading.parse(text)
