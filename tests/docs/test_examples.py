"""Every example of the documents that is no command: Python runs, configurations are legal.

Commands have a table of their own, in tests/pipeline/test_documented_commands.py.
"""

import tomllib
from pathlib import Path

import pytest
from leaks.commands import BLOCK, blocks
from ruamel.yaml import YAML

from privpipe.pipeline.grid import load_grid

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
PYTHON = sorted(name for name, text in PAGES.items() if blocks(text, "python"))
# tests/test_extending.py runs the one and looks at what it defines, tests/cli/test_perturbed_files.py the other.
ELSEWHERE = {"extending.md", "serving.md"}
PRINTED = {"tutorial.md": "pixel_correlation at L1: 0."}  # the scramble is undone
CLUSTER = {"reproduction.md"}  # starts jobs of Slurm: it is compiled, not run


def test_no_block_is_of_a_kind_that_no_test_runs() -> None:
    kinds = {kind for text in PAGES.values() for kind, _ in BLOCK.findall(text)}
    assert kinds == {"console", "python", "yaml", "toml", "{toctree}", "{include}"}


@pytest.mark.parametrize("name", [name for name in PYTHON if name not in ELSEWHERE])
def test_python_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    code = compile("\n".join(blocks(PAGES[name], "python")), name, "exec")
    if name not in CLUSTER:
        exec(code, {})
        assert PRINTED[name] in capsys.readouterr().out


def test_the_second_recipe_is_legal_in_the_grid(tmp_path: Path) -> None:
    (example,) = blocks(PAGES["reproduction.md"], "yaml")
    yaml, paper = YAML(), ROOT / "studies/paper"
    sweep = yaml.load(paper / "params.yaml")
    sweep["sweep"] |= yaml.load(example)["sweep"]
    yaml.dump(sweep, tmp_path / "params.yaml")
    before, after = (
        [task.params.train.recipe for tasks in load_grid(path, paper / "common.yaml").groups.values() for task in tasks]
        for path in (paper / "params.yaml", tmp_path / "params.yaml")
    )
    assert "modern" not in before and after.count("paper") == len(before) == after.count("modern")


def test_entry_points_name_classes_of_the_page() -> None:
    (example,) = blocks(PAGES["extending.md"], "toml")
    groups = tomllib.loads(example)["project"]["entry-points"]
    classes = "\n".join(blocks(PAGES["extending.md"], "python"))
    for group, entries in groups.items():
        assert group.startswith("privpipe.")
        assert all(f"class {value.partition(':')[2]}(" in classes for value in entries.values())
