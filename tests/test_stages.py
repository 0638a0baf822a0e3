"""What every stage does before its work."""

import os
from pathlib import Path

import pytest

from stages import wait_passively_in_company


@pytest.mark.parametrize(
    ("running", "processors", "passive"),
    [(1, 2, False), (2, 2, True), (3, 2, True), (9, 2, True), (1, 1, True), (40, 64, False), (64, 64, True)],
)
def test_threads_wait_asleep_where_others_are_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: int, processors: int, passive: bool
) -> None:
    """Two threads beside as many others as there are; this thread is one of those that run."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    (tmp_path / "loadavg").write_text(f"9.13 0.25 0.31 {running}/812 4711\n")
    wait_passively_in_company(tmp_path / "loadavg", processors)
    assert os.environ.get("OMP_WAIT_POLICY") == ("passive" if passive else None)


def test_what_the_user_says_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    (tmp_path / "loadavg").write_text("9.13 0.25 0.31 9/812 4711\n")
    wait_passively_in_company(tmp_path / "loadavg", 2)
    wait_passively_in_company(tmp_path / "absent", 2)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
