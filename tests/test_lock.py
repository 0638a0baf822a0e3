"""What the lock files pin can be installed with every Python of privpipe, the first all that a pipeline needs."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
DEV = ROOT / "requirements-dev.lock"
# Of each minor version the first: distributions stay at an early patch for years (Debian 12 has 3.11.2).
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")


def pinned(*files: Path) -> list[Requirement]:
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "--"))]


def needed(name: str, extras: Iterable[str], seen: set[tuple[str, str]]) -> None:
    """Add to `seen` what a package needs here with each of some extras, by name and extra."""
    for extra in extras:
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        for line in requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed(requirement.name, requirement.extras | {""}, seen)


def test_the_pythons_are_those_of_the_project() -> None:
    wanted = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert [wanted.contains(python) for python in ("3.10.19", *PYTHONS, "3.14.0")] == [False, True, True, True, False]


def test_no_pinned_package_wants_a_newer_python() -> None:
    looked_at = 0
    for requirement in pinned(LOCK, DEV):
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


def test_the_first_lock_file_has_all_that_a_pipeline_needs_and_the_second_nothing_of_it() -> None:
    seen: set[tuple[str, str]] = set()
    needed("privpipe", ("", "pipeline"), seen)
    first, second = ({canonicalize_name(requirement.name) for requirement in pinned(file)} for file in (LOCK, DEV))
    assert {name for name, _ in seen} - {"privpipe"} <= first
    assert not first & second
    assert "--requirement requirements.lock" in DEV.read_text().splitlines()
