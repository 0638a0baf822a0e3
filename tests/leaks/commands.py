"""The examples of the documents: the commands that they tell people to type, and other blocks."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

BLOCK = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of a language."""
    return [content for name, content in BLOCK.findall(text) if name == language]


def in_page(text: str) -> list[str]:
    """The commands in the console blocks of a page, without their comments; one over several lines is one."""
    found = []
    for block in blocks(text, "console"):
        joined = re.sub(r"\s*\\\n\s*", " ", block)
        found += [re.sub(r"\s+#\s.*", "", line[2:]).strip() for line in joined.splitlines() if line.startswith("$ ")]
    return found


def in_help(command: click.Command) -> Iterator[str]:
    """The examples in the help of a command and of those below it."""
    yield from (line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("privpipe "))
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from in_help(inner)


def documents(root: Path) -> dict[str, list[str]]:
    """The pages that have commands: those of a new user with own images first."""
    pages = [root / "docs/own-images.md", root / "README.md"]
    pages += sorted(set((root / "docs").glob("*.md")) - set(pages))
    return {page.name: commands for page in pages if (commands := in_page(page.read_text()))}
