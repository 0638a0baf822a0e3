"""What killed runs leave behind in a DVC project, and its remedy: `privpipe doctor`.

DVC writes its lock file and its notes in place, so that a kill at the wrong moment leaves half of one, and every later
command fails. Everything here works on files. Nothing that cannot be made again is deleted: a secret key is moved to
a safe place, a damaged file of the cache aside, and of a lock file the whole entries are kept.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.errors import PrivpipeError
from privpipe.files import PARTIAL, hide_folder, make_folder, write_bytes, writer_is_dead
from privpipe.params import load_params
from privpipe.pipeline import cache_check, lockfile
from privpipe.pipeline.project import RAW_FOLDERS, Project, readable_by_others

SKIPPED = {".git", ".venv", "node_modules", "__pycache__"}
STAGES = ("stages.", "privpipe.stages.")  # of a clone, and of the installed package
PUBLIC_IMAGES = "data/public.h5"
KEY_BYTES = 4096  # a key file has no more


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    Args:
        what: the file or folder, and what is wrong with it.
        meaning: what follows from it.
        remedy: what to do; with `fix`, what that does.
        fix: does it; None where a person has to.
    """

    what: str
    meaning: str
    remedy: str
    fix: Callable[[], None] | None = None


def examine(project: Project, cache: bool = False) -> Iterator[Problem]:
    """All problems of a project. While DVC is at work in it that is the only one: its half-written files are its own.

    Args:
        cache: also read all of the cache and compare each file with its name.
    """
    running = at_work(project)
    if running:
        yield Problem(
            f"processes are at work in {project.root} ({'; '.join(map(_name, running))})",
            "what they are writing is not finished yet",
            "wait until they have ended (a stage goes on when only DVC was killed), or end them, and run this again",
        )
        return
    yield from _locks(project)
    yield from lockfile_problems(project)
    yield from _notes(project)
    yield from _temporary_folders(project)
    yield from _leftovers(project)
    yield from _git_lock(project)
    yield from _open_folders(project)
    if cache:
        for path, why in cache_check.damaged(project.cache):
            target = project.tmp / "damaged" / path.name
            yield Problem(
                f"{path} is not what its name says ({why})",
                "DVC would hand it out, and push it, as an output that it is not",
                f"move it to {target}; then `dvc pull` or `dvc repro` brings the output again",
                partial(_move, path, target),
            )


def at_work(project: Project) -> list[psutil.Process]:
    """Processes of DVC or of our stages in the project or in a temporary folder of it; not this one."""
    others, mine = [], {os.getpid()} | {parent.pid for parent in psutil.Process().parents()}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid in mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = process.cmdline()
            ours = any(Path(word).name == "dvc" or word.startswith(STAGES) for word in words[:4])
            if ours and project.root in (folder := Path(process.cwd()), *folder.parents):
                others.append(process)
    return others


def _name(process: psutil.Process) -> str:
    """Number and command of a process, as far as one can read it."""
    try:
        return f"{process.pid}: {shlex.join(process.cmdline())[:100]}"
    except (psutil.Error, OSError):  # it has ended meanwhile
        return str(process.pid)


def _locks(project: Project) -> Iterator[Problem]:
    """DVC's lists of who reads and writes what: it cannot read half of one, and believes in dead processes."""
    for path in (project.tmp / "rwlock", project.tmp / "exps" / "rwlock"):
        if not path.is_file():
            continue
        content = _read_json(path)
        if content is None or not _is_rwlock(content):
            what, meaning = "is empty or cut short", "every DVC command fails ('JSON structure is corrupted')"
        elif any(_mistaken(entry, path) for entry in _entries(content)):
            what = "names a dead process whose number another program has now"
            meaning = "DVC waits for a program that has nothing to do with it ('is busy, it is being blocked by')"
        else:
            continue
        yield Problem(f"{path} {what}", meaning, "remove it; DVC makes a new one", path.unlink)


def _is_rwlock(content: Any) -> bool:
    try:
        return all(isinstance(entry["pid"], int) for entry in _entries(content))
    except (TypeError, KeyError, AttributeError):
        return False


def _entries(content: Any) -> list[Any]:
    """Who holds a lock, from `{"write": {path: entry}, "read": {path: [entry, ...]}}`."""
    return [*content.get("write", {}).values(), *(e for held in content.get("read", {}).values() for e in held)]


def _mistaken(entry: dict[str, Any], path: Path) -> bool:
    """Whether the process of an entry is another program by now: it is no DVC, or began after the entry was written."""
    try:
        process = psutil.Process(entry["pid"])
        if process.create_time() > path.stat().st_mtime + 1:
            return True
        words = process.cmdline()
        return bool(words) and not any("dvc" in word for word in words)
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False  # DVC itself takes out those that are over


def lockfile_problems(project: Project) -> Iterator[Problem]:
    """Every `dvc.lock` of the project that DVC cannot read."""
    for path in _files(project.root, lambda name: name == "dvc.lock"):
        damage = lockfile.damage(path)
        if damage:
            yield Problem(
                f"{path} is damaged ({damage})",
                "every DVC command fails, or says \"failed to reproduce ...: 'outs'\"",
                "write it again from its whole entries and, for the others, those that git holds; stages of which "
                "neither has one will run again (`git checkout dvc.lock` would lose whole entries that are not "
                "committed yet)",
                partial(lockfile.repair, path),
            )


def _notes(project: Project) -> Iterator[Problem]:
    """DVC's notes on running experiments."""
    exps = project.tmp / "exps"
    for path in [*exps.glob("run/*/*"), *exps.glob("standalone/run/*/*"), *exps.glob("celery/broker/*/*")]:
        if path.suffix in (".json", ".run", ".msg") and path.is_file() and _read_json(path) is None:
            yield Problem(
                f"{path} is empty or cut short",
                "`dvc exp show` and `dvc queue status` fail or show a run that is over",
                "remove it",
                path.unlink,
            )


def _temporary_folders(project: Project) -> Iterator[Problem]:
    """Working copies of experiments that were killed: `dvc exp run --temp` and `--queue` make them."""
    exps = project.tmp / "exps"
    for folder in sorted([*exps.glob("tmp*"), *exps.glob("standalone/tmp*")]):
        if folder.is_dir() and not folder.is_symlink():
            keys = _secrets_only_in(folder, project)
            saved = [project.root / "data" / "private" / f"rescued-{number}-{path.name}" for number, path in keys]
            also = f"move the key that is only there to {', '.join(map(str, saved))}; " if keys else ""
            yield Problem(
                f"{folder} is what a killed experiment left",
                "it may hold raw images and a key, and nothing ever removes it",
                f"{also}remove the folder (the experiment can be run again)",
                partial(_remove, folder, keys, saved),
            )


def _secrets_only_in(folder: Path, project: Project) -> list[tuple[str, Path]]:
    """Real keys in a folder that the project itself does not hold, each with its fingerprint."""
    kept = {_secret(path) for path in project.root.glob("data/private/*.json")}
    secrets = []
    for path in sorted(folder.rglob("*.json")):
        secret = _secret(path)
        if secret is not None and secret not in kept:
            kept.add(secret)
            secrets.append((str(secret[0])[:16], path))
    return secrets


def _secret(path: Path) -> tuple[str, str] | None:
    """Fingerprint and secret of a real key file; None for all else, a research key among it."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > KEY_BYTES:
        return None
    content = _read_json(path)
    if not isinstance(content, dict) or content.get("format") != "privpipe-key" or content.get("seed") is not None:
        return None
    return str(content.get("fingerprint")), str(content.get("secret"))


def _remove(folder: Path, keys: list[tuple[str, Path]], saved: list[Path]) -> None:
    for (_, path), target in zip(keys, saved, strict=True):
        hide_folder(target.parent)
        write_bytes(target, path.read_bytes(), private=True)
    shutil.rmtree(folder)


def _leftovers(project: Project) -> Iterator[Problem]:
    """Halves of outputs, by the names that we give them; older versions of privpipe called them `<output>.partial`."""
    declared = _declared(project.root / "dvc.yaml")
    for path in _files(project.root, lambda name: name.endswith(".partial")):
        if PARTIAL.fullmatch(path.name):
            dead = writer_is_dead(path)
        else:  # somebody's own file may be called so
            dead = str(path.relative_to(project.root)).removesuffix(".partial") in declared
        if dead:
            meaning = "it takes space, and nobody will finish it"
            yield Problem(f"{path} is half of an output", meaning, "remove it", path.unlink)


def _declared(pipeline: Path) -> set[str]:
    """The outputs that a `dvc.yaml` declares, as paths from its folder; none where it cannot be read."""
    outputs = set()
    try:
        for stage in YAML(typ="safe", pure=True).load(pipeline)["stages"].values():
            stage = stage.get("do", stage)  # with `foreach` or without
            for kind in ("outs", "metrics", "plots"):
                for entry in stage.get(kind, []):
                    names = entry if isinstance(entry, dict) else [entry]  # with settings, such as {cache: false}
                    outputs |= {os.path.normpath(os.path.join(stage.get("wdir", ""), name)) for name in names}
    except (OSError, YAMLError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # what cannot be told from somebody's own file is left alone
    return outputs


def _git_lock(project: Project) -> Iterator[Problem]:
    lock = project.root / ".git" / "index.lock"
    if lock.exists():
        yield Problem(
            f"{lock} is there",
            "git commands, and DVC's experiments, fail ('Unable to create ... index.lock: File exists')",
            f"where no git command is running in this repository: rm {lock}",
        )


def _open_folders(project: Project) -> Iterator[Problem]:
    """Raw images that other users of this machine can read."""
    for folder in (project.root / name for name in RAW_FOLDERS):
        if readable_by_others(folder):
            yield Problem(
                f"{folder} can be read by other users of this machine",
                "raw images lie in it, with the modes that DVC gives them",
                "close it (mode 0700)",
                partial(hide_folder, folder),
            )
    public = project.root / PUBLIC_IMAGES
    if public.is_file() and readable_by_others(public.parent) and _public_is_owned(project):
        yield Problem(
            f"{public.parent} can be read by other users of this machine",
            f"{public.name} in it holds images of your folder, as data.public is a fraction of them",
            "close it (mode 0700)",
            partial(hide_folder, public.parent),
        )
    holds_raw = any((project.root / name).is_dir() for name in RAW_FOLDERS)
    if holds_raw and (readable_by_others(project.cache) or project.shared):
        meaning = "DVC keeps a copy of every output there, raw images too, readable by all (mode 0444)"
        if project.owns_cache:
            yield Problem(
                f"{project.cache} can be read by other users of this machine",
                meaning,
                "close it (mode 0700)",
                partial(hide_folder, project.cache),
            )
        else:
            yield Problem(
                f"the cache {project.cache} is shared, or can be read by other users of this machine",
                meaning,
                "use a cache of this project's own (`dvc config --local --unset cache.dir`, also cache.shared), or, "
                f"where {project.cache} is yours alone: chmod 700 {project.cache}",
            )


def _public_is_owned(project: Project) -> bool:
    """Whether the public images are some of the owner's folder, by the project's parameters."""
    try:
        data = load_params(project.root / "params.yaml").data
    except PrivpipeError:
        return False
    return data.source == "folder" and data.public_fraction > 0


def _files(root: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Files and links of a project by their name, in order; those of a project inside it are left to it."""
    for folder, names, files in os.walk(root):
        inside = Path(folder) != root and ".dvc" in names
        names[:] = [] if inside else sorted(name for name in names if name not in SKIPPED | {".dvc"})
        if not inside:
            yield from (Path(folder, name) for name in sorted(files) if wanted(name))


def _read_json(path: Path) -> Any:
    """What a JSON file says; None where it says nothing that can be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _move(path: Path, target: Path) -> None:
    make_folder(target.parent, private=True)
    shutil.move(path, target)
