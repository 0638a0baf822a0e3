"""The record of an evaluation: what is written is read, and what was changed or is of another form is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_entry import entry, saved

from privpipe.errors import PrivpipeError
from privpipe.scores.entry import digest_of, load_entry


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], sealed: bool = True) -> Path:
    content = json.loads(path.read_text())
    change(content)
    if sealed:
        content["digest"] = digest_of(content)
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "one.json")
    assert load_entry(path) == entry()
    assert path.read_bytes() == saved(tmp_path, "two.json").read_bytes()
    content = json.loads(path.read_text())
    digest = content.pop("digest")
    assert digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert entry().title == "block_scramble k=4 dataset, baseline"
    assert entry(scheme={"sigma": 25.0}).title == "block_scramble k=4 sigma=25 dataset, baseline"


def test_a_number_that_was_typed_in_is_noticed(tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path, "a.json"), lambda c: c["accuracy"].update(mean=0.9), sealed=False)
    with pytest.raises(PrivpipeError, match=r"a\.json was changed after it was written: .* Entries are run, never"):
        load_entry(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(format_version=2),
            r"version 2; privpipe-evaluation, version 1, can be read. Evaluate",
        ),
        (lambda c: c.update(format="other"), r"is of the format 'other', version 1"),
        (lambda c: c.pop("cost"), r"no whole record: cost: Field required"),
        (lambda c: c.update(rank=1), r"no whole record: rank: Extra inputs are not permitted"),
        (
            lambda c: c["identified"].update(at_least=1.5),
            r"identified.at_least: Input should be less than or equal",
        ),
        (lambda c: c["budget"].update(train="2000"), r"budget.train: Input should be a valid integer"),
        (lambda c: c.update(keys=[]), r"keys: List should have at least 1 item"),
        (
            lambda c: c["images"].update(source="folder"),
            r"shows images of the source folder; only those of cifar10",
        ),
    ],
)
def test_another_form_is_refused(change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path, "a.json"), change)
    with pytest.raises(PrivpipeError, match=message):
        load_entry(path)


@pytest.mark.parametrize("content", ["", "[]", "7", '{"format": ', "\x00"])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(PrivpipeError, match=r"a\.json is no record: .* Make one with `privpipe evaluate`"):
        load_entry(tmp_path / "a.json")
    with pytest.raises(PrivpipeError, match=r"cannot read .*b\.json: No such file"):
        load_entry(tmp_path / "b.json")
