"""Where the commands run."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder: no params.yaml, metrics or model are there by chance."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
