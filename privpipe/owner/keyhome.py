"""The key home: the folder outside every repository in which real keys lie, one file each, and which project has which.

    $PRIVPIPE_KEYS, else $XDG_DATA_HOME/privpipe/keys, else ~/.local/share/privpipe/keys     (mode 0700)
        <fingerprint>.json         a key file (mode 0600)
        projects/<digest>.json     the key of one project (no secret in it)

A clone, a copy of the working tree and DVC's temporary folders come and go; what lies here stays. So a key can enter
neither git, DVC's cache, a remote nor an experiment, and all runs of a project find the same one.
"""

import json
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.files import write_error
from privpipe.owner.key import FINGERPRINT, Key, new_key, read_any, write_key

PROJECT_FORMAT = "privpipe-project"
TEMPORARY = (".dvc", "tmp", "exps")  # below a project: where DVC puts the copies in which --temp and --queue run
GIT_PLACES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"}
READABLE_BY_OTHERS = 0o077


def home() -> Path:
    """The folder of real keys, whether it exists or not."""
    if named := os.environ.get("PRIVPIPE_KEYS"):
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "privpipe" / "keys"


def place(fingerprint: str) -> Path:
    """Where the key of a fingerprint lies, or would."""
    return home() / f"{fingerprint}.json"


def find(fingerprint: str) -> Key | None:
    """The real key of a fingerprint; None where the home has no such file.

    Raises:
        PrivpipeError: there is a file, and it is damaged or another key.
    """
    path = place(fingerprint)
    if not FINGERPRINT.fullmatch(fingerprint) or not os.path.lexists(path):
        return None
    key = read_any(path)
    if not isinstance(key, Key) or key.fingerprint != fingerprint:
        raise PrivpipeError(f"{path} is not the key {fingerprint}. Move it away, and put a copy of that key there.")
    return key


def read_key(path: str | Path) -> Key:
    """The key of a key file, or the one that a reference stands for.

    Raises:
        PrivpipeError: the file is missing, damaged or neither of the two, or the key is not in the home.
    """
    stored = read_any(path)
    if isinstance(stored, Key):
        return stored
    if stored.seed is not None:
        return new_key(stored.seed)
    key = find(stored.fingerprint)
    if key is None:
        raise missing(stored.fingerprint, f"{path} stands for it")
    return key


def check_key(key: Key, fingerprint: str, source: str | Path) -> None:
    """Refuse a key that is not the one of `source`, a perturbed file or a model; nothing else would tell.

    Args:
        fingerprint: what `source` says of its key.

    Raises:
        PrivpipeError: the fingerprints differ; the message says where the right key is.
    """
    if key.fingerprint == fingerprint:
        return
    kind = "research key" if key.research else "key"
    wrong = f"the {kind} {key.fingerprint} is not the one of {source}, which was made with"
    if not fingerprint:
        raise PrivpipeError(f"{wrong} no key. Perturb and train again with `dvc repro`.")
    cure = (
        f"Pass {place(fingerprint)}."
        if find(fingerprint) is not None
        else f"{home()} does not hold that key. If it is a research key, `privpipe key new FILE --seed N` makes it "
        "from the key.seed of its experiment."
    )
    raise PrivpipeError(
        f"{wrong} {fingerprint}. {cure} If {source} is an experiment's, `dvc exp apply` brings its key too, and "
        "`dvc checkout data/private/key.json` the one that dvc.lock names."
    )


def missing(fingerprint: str, why: str) -> PrivpipeError:
    """The error for a key that is not in the home."""
    return PrivpipeError(
        f"the secret of the key {fingerprint} is not on this machine ({why}); looked for {place(fingerprint)}. "
        "Bring your copy of the key file with `privpipe key import FILE`, or set PRIVPIPE_KEYS to the folder that has "
        "it. No other key is made in its place: it would not fit what was perturbed with this one."
    )


def keep(key: Key) -> Path:
    """Put a real key into the home and read it back; the path of its file. A key that is there already stays.

    Raises:
        PrivpipeError: it cannot be written, or it is a research key.
    """
    if key.research:
        raise PrivpipeError(f"a research key needs no keeping: key.seed={key.seed} makes it again.")
    path = place(key.fingerprint)
    if find(key.fingerprint) is None:
        _make_home(home())
        # A name of its own for each writer: two runs side by side may keep the same key.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            write_key(draft, key)
            _link(draft, path)
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)
        if find(key.fingerprint) != key:
            raise PrivpipeError(f"{path} does not read back as it was written. Check the disk; nothing else changed.")
    elif stat.S_IMODE(path.stat().st_mode) & READABLE_BY_OTHERS:
        path.chmod(0o600)
    return path


def keys(report: Callable[[str], None] = lambda problem: None) -> list[Key]:
    """All keys of the home, by fingerprint.

    Args:
        report: called with a message for each file that has the name of a key, and is damaged or another one.
    """
    found = []
    for name in sorted(path.stem for path in home().glob("*.json")) if home().is_dir() else ():
        try:
            key = find(name)
        except PrivpipeError as error:
            report(str(error))
        else:
            found += [] if key is None else [key]
    return found


@dataclass(frozen=True)
class Project:
    """A project, the same one in its main checkout, its git worktrees and DVC's temporary copies of them.

    Args:
        name: the path that tells it from others on this machine: git's common folder, and below it the project's own
            folder where that is not the top of the repository. Without git the caller's folder.
        checkout: its folder in the working tree that DVC's temporary copy was made of; in that of the caller where it
            is no copy.
        main: its folder in the main checkout, of which worktrees were made.
    """

    name: Path
    checkout: Path
    main: Path

    @property
    def record(self) -> Path:
        return home() / "projects" / f"{sha256(os.fsencode(self.name)).hexdigest()[:16]}.json"

    def fingerprint(self) -> str | None:
        """The fingerprint of its key; None where it has none yet.

        Raises:
            PrivpipeError: the record cannot be read.
        """
        try:
            content = json.loads(self.record.read_bytes())
            fingerprint = content["fingerprint"]
            if content["format"] != PROJECT_FORMAT or not FINGERPRINT.fullmatch(fingerprint):
                raise ValueError("its fields contradict each other")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise PrivpipeError(
                f"cannot read {self.record}, which names the key of {self.name} ({error}). Restore it from your backup "
                "of the key home, or remove it where metrics/perturb.json names the key."
            ) from error
        return str(fingerprint)

    def remember(self, fingerprint: str, replace: bool = False) -> str:
        """Record its key unless it has one; the fingerprint that holds. One of several runs side by side wins."""
        _make_home(self.record.parent)
        draft = self.record.with_name(f".{self.record.name}.{secrets.token_hex(8)}")
        content = {"format": PROJECT_FORMAT, "project": os.fsdecode(os.fsencode(self.name)), "fingerprint": fingerprint}
        try:
            draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", errors="surrogateescape")
            if replace:
                os.replace(draft, self.record)
            else:
                _link(draft, self.record)
            _sync(self.record.parent)
        except OSError as error:
            raise write_error(self.record, error) from error
        finally:
            draft.unlink(missing_ok=True)
        return self.fingerprint() or fingerprint


def project(folder: Path | None = None) -> Project:
    """The project that a folder, or the current one, belongs to."""
    here = (folder or Path.cwd()).resolve()
    origin, parts = here, here.parts
    for i in range(len(parts) - len(TEMPORARY)):
        if parts[i : i + len(TEMPORARY)] == TEMPORARY:
            origin = Path(*parts[:i])
            break
    common, top = _git_folder(origin, "--git-common-dir"), _git_folder(origin, "--show-toplevel")
    if common is None or top is None:
        return Project(origin, origin, origin)
    below = _below_the_top(here)
    if below is None:  # of no project itself; a temporary copy is of the one that it lies in
        below = Path() if origin == here else origin.relative_to(top)
    return Project(common / below, top / below, common.parent / below)


def _below_the_top(folder: Path) -> Path | None:
    """The way from the top of a folder's git repository to the DVC project that the folder is in; None for no project.

    Several projects may lie in one repository (`dvc init --subdir`).
    """
    top = _git_folder(folder, "--show-toplevel")
    for place in (folder, *folder.parents):
        if (place / ".dvc").is_dir():
            return place.relative_to(top) if top is not None and place.is_relative_to(top) else None
    return None


def _git_folder(folder: Path, which: str) -> Path | None:
    """A folder that git names for the repository of `folder`; None where there is no git or no repository."""
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    command = [git, "-C", str(folder), "rev-parse", "--path-format=absolute", which]
    done = subprocess.run(command, env=environment, capture_output=True)
    return Path(os.fsdecode(done.stdout.rstrip(b"\n"))).resolve() if done.returncode == 0 else None


def _make_home(folder: Path) -> None:
    """Make the home and a folder in it, which only their owner can enter; git is told to take nothing of them.

    Raises:
        PrivpipeError: the home lies in the project, where `git clean` and whoever copies the project would meet it.
    """
    root, checkout = home(), project().checkout
    if (checkout / ".dvc").is_dir() and root.is_relative_to(checkout):
        raise PrivpipeError(
            f"the key home {root} lies in the project {checkout}. Set PRIVPIPE_KEYS to a folder outside of "
            "it, such as ~/.local/share/privpipe/keys."
        )
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for path in (root, folder):
            path.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError), (root / ".gitignore").open("x", encoding="utf-8") as file:
            file.write("*\n")
    except OSError as error:
        raise write_error(folder, error) from error


def _link(draft: Path, path: Path) -> None:
    """Give a finished file its name, unless the name is taken: of two that try, one succeeds."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError as error:
        raise PrivpipeError(
            f"cannot name {path}: {error.strerror}. The key home must be a folder that you can write to, on a file "
            "system with hard links; set PRIVPIPE_KEYS to one."
        ) from error


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
