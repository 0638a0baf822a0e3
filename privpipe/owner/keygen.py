"""Which key a run has: the one that the project has already, a new one only where nothing was made with another."""

import json
import os
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.owner import keyhome
from privpipe.owner.key import FINGERPRINT, Key, Reference, new_key, read_any, write_reference

# Seeds that are tried for a fingerprint of which nothing tells whether it is of a research key (files made before
# `key_research` was noted): a fraction of a second.
SEEDS_TRIED = 100_000


def ensure_key(path: str | Path, seed: int | None, perturb_metrics: str | Path | None = None) -> Key:
    """The key that `seed` asks for, with a reference to it at `path`.

    A number asks for its research key. None asks for the project's real key, which is, in this order:

    1. the one that `path` refers to (a key file with a secret, as earlier versions left it there, moves into the home);
    2. the one that `perturb_metrics` names, since something was perturbed with it;
    3. the one that the home records for this project, shared with its worktrees and DVC's temporary copies;
    4. a new one. Of runs side by side one makes it, and the others take it.

    Args:
        perturb_metrics: the file in which the stage perturb notes the fingerprint of its key; it need not exist.

    Raises:
        PrivpipeError: the key's secret is not on this machine, a file is damaged, or a research key would replace the
            only copy of a secret.
    """
    path = Path(path)
    old = read_any(path) if os.path.lexists(path) else None
    if seed is not None:
        if isinstance(old, Key) and not old.research:
            raise PrivpipeError(
                f"{path} holds a real key ({old.fingerprint}), and key.seed={seed} asks for a research key in its "
                "place. Nothing was changed. Move it into the key home first, with `privpipe key import "
                f"{path}`, and remove the file; or set key.seed=null to go on with it."
            )
        if old is not None and old.seed is None:
            keyhome.project().remember(old.fingerprint)
        key = new_key(seed)
    else:
        key = _real_key(path, old, perturb_metrics)
        keyhome.keep(key)
        keyhome.project().remember(key.fingerprint)
    if isinstance(old, Key) or old is None or old.fingerprint != key.fingerprint:
        write_reference(path, key)
    return key


def _real_key(path: Path, old: Key | Reference | None, perturb_metrics: str | Path | None) -> Key:
    """The project's real key; `old` is what `path` holds."""
    if old is not None and old.seed is None:
        return old if isinstance(old, Key) else keyhome.read_key(path)
    project = keyhome.project()
    fingerprint, why = perturbed_with(perturb_metrics), f"{perturb_metrics} says that images were perturbed with it"
    if fingerprint is None:
        fingerprint, why = project.fingerprint(), f"{project.record} names it as the key of {project.name}"
    key = None if fingerprint is None else keyhome.find(fingerprint)
    if key is None:
        key = _left_by_an_earlier_version(path, project, fingerprint)
    if key is not None:
        return key
    if fingerprint is not None:
        raise keyhome.missing(fingerprint, why)
    return _make(project)


def _make(project: keyhome.Project) -> Key:
    """A new key, or that of a run side by side that was faster."""
    key = new_key(None)
    place = keyhome.keep(key)
    # The key is kept before it is recorded, so that a record never names a key that is not there.
    fingerprint = project.remember(key.fingerprint)
    if fingerprint == key.fingerprint:
        return key
    place.unlink()  # nobody has seen it
    faster = keyhome.find(fingerprint)
    if faster is None:
        raise keyhome.missing(fingerprint, f"{project.record} names it as the key of {project.name}")
    return faster


def _left_by_an_earlier_version(path: Path, project: keyhome.Project, fingerprint: str | None) -> Key | None:
    """The key of `path` in the working tree that this copy or worktree belongs to: a secret of an earlier version, or
    a reference of a project that had no record of its own.

    Args:
        fingerprint: of the key that is sought; None for whichever is there.
    """
    for folder in (project.checkout, project.main):
        file = folder / path
        if file.is_file():
            stored = read_any(file)
            key = stored if isinstance(stored, Key) else keyhome.find(stored.fingerprint)
            if key is not None and not key.research and fingerprint in (None, key.fingerprint):
                return key
    return None


def perturbed_with(perturb_metrics: str | Path | None) -> str | None:
    """The fingerprint of the real key with which something was perturbed; None where nothing was, or a research key.

    Raises:
        PrivpipeError: the file cannot be read.
    """
    if perturb_metrics is None:
        return None
    try:
        content = json.loads(Path(perturb_metrics).read_text(encoding="utf-8"))
        fingerprint, research = content.get("key_fingerprint"), content.get("key_research")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise PrivpipeError(
            f"cannot read {perturb_metrics} ({error}), which tells the key that images were perturbed with. Restore "
            f"it with `git checkout {perturb_metrics}`, or remove it where nothing was perturbed."
        ) from error
    if research is True or not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
        return None  # a method without a key may note none
    if research is None and keyhome.find(fingerprint) is None:
        return None if any(new_key(seed).fingerprint == fingerprint for seed in range(SEEDS_TRIED)) else fingerprint
    return fingerprint


def replace_key(path: str | Path) -> tuple[str | None, Key]:
    """Make a new real key for this project, with a reference to it at `path`. The old one stays in the home.

    Returns:
        The fingerprint of the real key that the project had, or None, and the new key.
    """
    path, project = Path(path), keyhome.project()
    old = read_any(path) if os.path.lexists(path) else None
    if isinstance(old, Key) and not old.research:
        keyhome.keep(old)
    before = old.fingerprint if old is not None and old.seed is None else project.fingerprint()
    key = new_key(None)
    keyhome.keep(key)
    project.remember(key.fingerprint, replace=True)
    write_reference(path, key)
    return before, key
