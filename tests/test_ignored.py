"""What git takes of what commands write: no image, no file that can hold images, wherever it lies."""

import subprocess
from pathlib import Path

import pytest

from privpipe.data.listing import BY_SUFFIX, SUFFIXES

ROOT = Path(__file__).parents[1]
WRITTEN = [
    "dvc_plots/static/workspace_plots_examples.png", "dvc_plots/index.html", "out/sheet.png", "out/anything", "out/a/b",
    "sheet.png", "look.png", "perturbed/cat.png", "model.onnx", "image.JPG", "holiday/one.jpeg", "page.html",
    "data/private/anything", "data/raw/images/moss/a.unknown", "data/images.h5", "models/model.safetensors",
    "key.json",    "survey/data/images.h5", "survey/image.png", "study/figures/other.png", "a/b.npz", "images.zip",
    "images.tar", "images.tar.xz", "set.tgz", "tests/images/a.webp", "docs/a.svg",
]  # fmt: skip


def git(*words: str, said: str = "") -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, input=said, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.split("\0") if line]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone: an unpacked archive")
def test_git_ignores_what_commands_write_and_nothing_that_is_committed() -> None:
    assert git("check-ignore", "-z", "--no-index", "--stdin", said="\0".join(WRITTEN)) == WRITTEN
    suffixes = sorted({*SUFFIXES, *BY_SUFFIX})
    images = [f"scans/a{case}" for one in suffixes for case in (one, one.upper(), one.title())]
    assert git("check-ignore", "-z", "--no-index", "--stdin", said="\0".join(images)) == images
    assert git("ls-files", "-z", "--cached", "--ignored", "--exclude-standard") == []
