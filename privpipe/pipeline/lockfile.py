"""`dvc.lock` after a kill: DVC empties and rewrites it in place, so that half of one may be left.

The file is handled as text: `stages:` and then an entry of each stage, indented by two spaces. So a repaired file has
the bytes that DVC wrote.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from privpipe.files import write_text

HEAD = "schema: '2.0'\nstages:\n"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
PRODUCTS = ("outs", "metrics", "plots")


def damage(path: Path) -> str | None:
    """What is wrong with a lock file, or None. A file that lacks stages is not damaged: those will run."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        return "it is empty"
    if not text.endswith("\n"):
        return "it ends within a line"
    try:
        content = YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        return f"it is no YAML: {' '.join(str(error).split())[:100]}"
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict) or content.get("schema") != "2.0":
        return "it ends before its first entry"
    making = _stages_that_make(path)
    for name, entry in content["stages"].items():
        problem = _entry_damage(entry, str(name).split("@")[0] in making)
        if problem:
            return f"the entry of {name} {problem}"
    return None


def repair(path: Path) -> None:
    """Write a lock file again: its whole entries, and of the committed one those that are missing then.

    DVC checks every entry against the files, so that one of an older run makes its stage run again and no more.
    """
    making = _stages_that_make(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    entries, committed = _entries(text), _entries(_committed(path))
    if entries and not text.endswith("\n"):
        entries.popitem()  # its last line may look whole
    whole = {name: block for name, block in entries.items() if _block_damage(name, block, making) is None}
    order = [*committed, *(name for name in whole if name not in committed)]
    if order:
        write_text(path, HEAD + "".join(whole.get(name) or committed[name] for name in order))
    else:
        path.unlink()  # nothing in it is whole; DVC makes a new one


def _entries(text: str) -> dict[str, str]:
    """The text of each stage's entry, by name."""
    body = text.partition("stages:\n")[2]
    starts = list(re.finditer(r"^  (?! )(.+):\n", body, re.MULTILINE))
    ends = [*(match.start() for match in starts[1:]), len(body)][: len(starts)]
    return {match[1].strip("'\""): body[match.start() : end] for match, end in zip(starts, ends, strict=True)}


def _block_damage(name: str, block: str, making: set[str]) -> str | None:
    try:
        entry = next(iter(YAML(typ="safe").load(block).values()))
    except (YAMLError, ValueError, AttributeError):
        return "is no YAML"
    return _entry_damage(entry, name.split("@")[0] in making)


def _entry_damage(entry: Any, makes: bool) -> str | None:
    """What is wrong with the entry of a stage; `makes`: it has outputs."""
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str | list):
        return "has no command"
    if makes and "outs" not in entry:
        return "has no outputs"
    for part in ("deps", "outs"):
        files = entry.get(part, [])
        if not isinstance(files, list) or (part in entry and not files):
            return f"has no list of {part}"
        for file in files:
            if not isinstance(file, dict) or not isinstance(file.get("path"), str):
                return f"has one of {part} without a path"
            checksum = file.get("md5")
            if isinstance(checksum, str) and not MD5.fullmatch(checksum):
                return f"has half a checksum of {file['path']}"
            if "hash" in file and (file["hash"] != "md5" or "md5" not in file or "size" not in file):
                return f"says too little of {file['path']}"
    if not isinstance(entry.get("params", {}), dict):
        return "has half of its parameters"
    return None


def _stages_that_make(path: Path) -> set[str]:
    """The stages of the `dvc.yaml` beside a lock file that have outputs, without what `foreach` adds to the name."""
    try:
        content = YAML(typ="safe").load(path.with_name("dvc.yaml"))
    except (YAMLError, OSError, ValueError):
        return set()
    stages = content.get("stages") if isinstance(content, dict) else None
    names = set()
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        body = stage.get("do", stage) if isinstance(stage, dict) else {}
        if isinstance(body, dict) and any(body.get(part) for part in PRODUCTS):
            names.add(str(name))
    return names


def _committed(path: Path) -> str:
    """The lock file as git has it; empty where git has none, or is not there."""
    try:
        command = ["git", "show", f"HEAD:./{path.name}"]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""
