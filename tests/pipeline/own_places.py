"""An owner with images of their own, a cloud, a hub for git and a store for DVC; and what these come to hold."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
from leaks import held
from PIL import Image
from projects import Project, completed, copy_project, environment, set_params

CLASSES = ("lichen", "moss", "stone")


@dataclass
class Places:
    """An owner, a cloud, and what they share; and what was run."""

    root: Path
    originals: np.ndarray
    owner: Project
    known: set[bytes]
    ran: list[tuple[str, int, str]] = field(default_factory=list)

    def run(self, command: str, folder: Path) -> None:
        env = {**environment(), "PRIVPIPE_KEYS": str(self.root / "keys"), "IMAGES": str(self.root / "images")}
        done = completed(["bash", "-e", "-o", "pipefail", "-c", command], folder, env, timeout=600)
        self.ran.append((command, done.returncode, done.stdout + done.stderr))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def make_places(root: Path, originals: np.ndarray) -> Places:
    for i, image in enumerate(originals):
        path = root / "images" / CLASSES[i % 3] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    for name in ("owner", "cloud"):
        (root / name).mkdir()
    owner = copy_project(root / "owner")
    set_params(owner, {"attack.targets": 15, "attack.pairs": 5})
    owner.commit("small")
    known = {sha256(content).digest() for content in held.objects(owner.folder).values()}
    owner.run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(root / "hub"))
    owner.run("git", "remote", "add", "origin", str(root / "hub"))
    owner.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    # Where the examples say: in the clone.
    (owner.folder / "holiday").mkdir()
    for i, name in enumerate(("new-image.jpg", "image.jpg", "cat.jpg", "holiday/one.jpeg", "holiday/two.PNG")):
        Image.fromarray(originals[i]).save(owner.folder / name, quality=95)
    return Places(root, originals, owner, known)


def secrets(places: Places) -> Iterator[bytes]:
    """The key in both spellings, and stretches of raw images."""
    files = [places.owner.folder / "data/private/key.json", *(places.root / "keys").rglob("*.json")]
    contents = [json.loads(path.read_text()) for path in files if path.exists()]
    keys = [content["secret"] for content in contents if "secret" in content]
    assert keys
    for key in keys:
        yield from (key.encode(), bytes.fromhex(key))
    with h5py.File(places.owner.folder / "data/private/images.h5") as file:
        for split in ("train", "val", "test"):
            for image in file[split]["images"][:]:
                raw = image.tobytes()
                assert len(raw) >= 768
                yield from (raw[at : at + 192] for at in (0, len(raw) // 2, len(raw) - 192))


def published(places: Places) -> held.Held:
    """Everything in the hub, the store, and what git has or would take of the owner's and the cloud's clones."""
    out = {**held.objects(places.root / "hub"), **held.files_below(places.root / "store")}
    for clone in ("owner", "cloud"):
        if (places.root / clone / ".git").exists():
            out |= held.objects(places.root / clone)
            out |= {f"{clone}/{name}": content for name, content in held.files_for_git(places.root / clone).items()}
    return out
