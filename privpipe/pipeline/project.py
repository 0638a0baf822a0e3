"""The DVC project that a command runs in, read from its files: DVC itself is not imported."""

import configparser
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from privpipe.files import hide_folder

RAW_FOLDERS = ("data/private", "data/raw")  # of a project: what is in them shows original images


@dataclass(frozen=True)
class Project:
    """A folder with a `.dvc` folder in it.

    Args:
        root: the folder.
        cache: where DVC keeps a copy of every output, readable by all (mode 0444) for who may enter the folder.
        shared: whether DVC is told to give the cache to a group (`cache.shared`).
    """

    root: Path
    cache: Path
    shared: bool

    @property
    def tmp(self) -> Path:
        """DVC's own notes: locks, and the folders of experiments that run outside the workspace."""
        return self.root / ".dvc" / "tmp"

    @property
    def owns_cache(self) -> bool:
        """Whether the cache is the usual one of one project, and this user's, and not meant to be shared."""
        if self.shared or self.cache.parts[-2:] != (".dvc", "cache"):
            return False
        return not self.cache.is_symlink() and (not self.cache.exists() or self.cache.stat().st_uid == os.getuid())


def find_project(start: Path | None = None) -> Project | None:
    """The project of a folder (of the current one unless told otherwise), or None; the innermost of nested ones."""
    start = (start or Path()).resolve()
    for root in (start, *start.parents):
        if (root / ".dvc").is_dir():
            settings = _cache_settings(root)
            folder = settings.get("dir")
            # DVC reads a relative path from the folder of the configuration file.
            cache = root / ".dvc" / (Path(folder).expanduser() if folder else "cache")
            return Project(root, Path(os.path.normpath(cache)), settings.get("shared", "").strip() == "group")
    return None


def _cache_settings(root: Path) -> dict[str, str]:
    """The section `cache` of DVC's configuration: the user's, the project's, this machine's; later ones win."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    stages: dict[str, str] = {}
    for path in (base / "dvc" / "config", root / ".dvc" / "config", root / ".dvc" / "config.local"):
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # DVC itself names a broken one
        if parser.has_section("cache"):
            stages |= {name: (value or "").strip("'\"") for name, value in parser.items("cache")}
    return stages


def readable_by_others(folder: Path) -> bool:
    """Whether other users of this machine may enter a folder."""
    return folder.is_dir() and bool(stat.S_IMODE(folder.stat().st_mode) & 0o077)


def hide_raw_images(*folders: Path) -> None:
    """Close folders of the current project, and its DVC cache, to all other users.

    DVC gives files its own modes (0644 in the workspace, 0444 in the cache), so that only the folder protects them.
    What lies outside the current folder, and a cache that was set up elsewhere or for a group, is left as it is:
    closing it would be felt by others. `privpipe doctor` names it.

    Raises:
        WriteError: a folder cannot be made or closed.
    """
    here = Path().resolve()
    for folder in folders:
        if here in folder.resolve().parents:
            hide_folder(folder)
    project = find_project()
    if project is not None and project.owns_cache:
        hide_folder(project.cache)
