"""The file of parameters: what is read from its text, and texts that are refused."""

import re
from pathlib import Path

import pytest

from privpipe.errors import PrivpipeError
from privpipe.params import Params, load_params

COMMITTED = Path(__file__).parents[1] / "params.yaml"


def from_text(path: Path, text: str | bytes) -> Params:
    file = path / "params.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_params(file)


def with_line(group_and_name: str, value: str) -> str:
    """The committed file with one parameter's text replaced."""
    group, name = group_and_name.split(".")
    text, count = re.subn(rf"(?ms)^({group}:.*?^  {name}: )\S+", rf"\g<1>{value}", COMMITTED.read_text())
    assert count == 1
    return text


@pytest.mark.parametrize(
    ("text", "kind"), [("", "NoneType"), ("5", "int"), ("- data", "list"), ("data", "str"), ("null", "NoneType")]
)
def test_the_top_level_must_be_a_mapping(tmp_path: Path, text: str, kind: str) -> None:
    message = rf"params\.yaml must hold the groups data, key, perturb, model, train, attack; got {kind}\.$"
    with pytest.raises(PrivpipeError, match=message):
        from_text(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        *["data: [1", "a: *x", "--- 1\n--- 2", "a: !!python/object/apply:os.system [ls]", "a: 2020-99-99"],
        *["a: !!int x", "data: 1\ndata: 2", "\x00", b"a: \xff", "[" * 1000, "\t- a: b:"],
    ],
)
def test_invalid_yaml(tmp_path: Path, text: str | bytes) -> None:
    message = r"(?s)params\.yaml is no valid YAML: .*Repair it, or run `git checkout .*params\.yaml`\.$"
    with pytest.raises(PrivpipeError, match=message):
        from_text(tmp_path, text)


def test_a_missing_file(tmp_path: Path) -> None:
    message = r"^cannot read .*/params\.yaml: No such file or directory\. Run from the folder that holds it\.$"
    with pytest.raises(PrivpipeError, match=message):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("1.0e-3", 0.001), ("1E-2", 0.01), ("1", 1.0)])
def test_numbers_are_read_as_yaml_1_2_reads_them(tmp_path: Path, text: str, value: float) -> None:
    assert from_text(tmp_path, with_line("train.lr", text)).train.lr == value


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "0", "yes", "'0.001'"])
def test_numbers_that_are_none_are_refused_in_the_file_too(tmp_path: Path, text: str) -> None:
    meaning = re.escape("(learning rate: at the start (paper), at its peak (modern))")
    with pytest.raises(PrivpipeError, match=rf"^train\.lr {meaning}: input should be "):
        from_text(tmp_path, with_line("train.lr", text))


@pytest.mark.parametrize("text", ["null", "~"])
def test_a_key_seed_of_null_is_none(tmp_path: Path, text: str) -> None:
    assert from_text(tmp_path, with_line("key.seed", text)).key.seed is None


@pytest.mark.parametrize("name", ["train.seed", "data.split_seed"])
def test_the_other_seeds_may_not_be_null(tmp_path: Path, name: str) -> None:
    with pytest.raises(PrivpipeError, match=rf"^{name} \(draws .*\): input should be a valid integer; got None\.$"):
        from_text(tmp_path, with_line(name, "null"))
