"""What requirements.lock pins can be installed with every Python that privpipe is for."""

import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
# Of each minor version the first: distributions stay at an early patch for years (Debian 12 has 3.11.2).
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")


def pinned() -> list[Requirement]:
    lines = LOCK.read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_pythons_are_those_of_the_project() -> None:
    wanted = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert [wanted.contains(python) for python in ("3.10.19", *PYTHONS, "3.14.0")] == [False, True, True, True, False]


def test_no_pinned_package_wants_a_newer_python() -> None:
    looked_at = 0
    for requirement in pinned():
        try:
            known = metadata(requirement.name)
        except PackageNotFoundError:  # for other systems or Pythons than this one
            continue
        if not requirement.specifier.contains(known["Version"], prereleases=True):
            continue
        looked_at += 1
        for python in PYTHONS:
            version = {"python_full_version": python, "python_version": python.rsplit(".", 1)[0]}
            if requirement.marker is None or requirement.marker.evaluate(version):
                wanted = known.get("Requires-Python", "")
                assert SpecifierSet(wanted).contains(python), (requirement.name, python)
    assert looked_at > 100
