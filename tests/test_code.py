"""The meaning of code, without comments, docstrings and layout; and the stage that notes it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from privpipe.code import digests, files, meaning
from privpipe.errors import PrivpipeError
from stages.code import main

PROGRAM = '''"""What it is."""

import math

def area(radius: float) -> float:
    """Of a circle."""
    return math.pi * radius**2  # Euclid

class Shape:
    """Any."""

    sides = 4
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is."""', '"""What it was."""'),
        ('"""Of a circle."""', '"""Of a circle,\n\n    in the plane."""'),
        ('"""Any."""', '"""Some."""'),
        ("  # Euclid", "  # Archimedes"),
        ("radius**2", "(radius ** 2)"),
        ("\n\nclass", "\n\n\n# A comment.\nclass"),
    ],
)
def test_comments_docstrings_and_layout_mean_nothing(old: str, new: str) -> None:
    assert old in PROGRAM
    assert meaning(PROGRAM.replace(old, new, 1)) == meaning(PROGRAM)


@pytest.mark.parametrize(
    ("old", "new"),
    [("radius**2", "radius**3"), ("sides = 4", "sides = 5"), ("math.pi", "math.e"), ("radius: float", "radius: int")],
)
def test_a_changed_program_means_something_else(old: str, new: str) -> None:
    assert old in PROGRAM
    assert meaning(PROGRAM.replace(old, new, 1)) != meaning(PROGRAM)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b/two.py", "b/one.py", "a.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM)
    (tmp_path / "b" / "notes.txt").write_text("no code")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_stands_for_the_code_in_it(project: Path) -> None:
    assert [path.as_posix() for path in files(["a.py", "b"])] == ["a.py", "b/one.py", "b/two.py"]
    assert files(["b"], project) == [project / "b" / "one.py", project / "b" / "two.py"]


def test_only_a_file_that_does_something_else_has_another_digest(project: Path) -> None:
    before = digests(["a.py", "b"])
    assert list(before) == ["a.py", "b/one.py", "b/two.py"]
    (project / "b" / "one.py").write_text(f"# A comment.\n{PROGRAM}")
    assert digests(["a.py", "b"]) == before
    (project / "b" / "one.py").write_text(PROGRAM.replace("4", "5"))
    after = digests(["a.py", "b"])
    assert [name for name in after if after[name] != before[name]] == ["b/one.py"]


def test_the_stage_writes_the_same_bytes_after_a_comment(project: Path) -> None:
    arguments = ["a.py", "b", "--target", "code.json"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    before = (project / "code.json").read_bytes()
    assert json.loads(before) == digests(["a.py", "b"])
    (project / "a.py").write_text(f"{PROGRAM}# The end.\n")
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert (project / "code.json").read_bytes() == before


def test_missing_code_is_told(project: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"there is no code c\.py\. Run this from the project's folder\."):
        files(["c.py"])
