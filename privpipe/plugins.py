"""Find the classes that extend privpipe: those of a folder of this package, and those that other packages offer.

A package offers a class by an entry point, in its pyproject.toml:

    [project.entry-points."privpipe.methods"]
    block_permutation = "some_package.some_module:BlockPermutation"

A class that no package offers is named by the variable `PLUGINS` of the environment, so that worker processes know it
too; `name_plugin` does so.

Nothing is imported before the first look into a `Registry`, so that importing privpipe costs nothing and an error has
somebody to be told to.
"""

import inspect
import os
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeGuard, TypeVar

from privpipe.errors import PrivpipeError

T = TypeVar("T")
P = TypeVar("P")

PLUGINS = "PRIVPIPE_PLUGINS"  # of the environment: GROUP=MODULE:CLASS, several of them with spaces between


def offered(group: str) -> list[EntryPoint]:
    """The entry points of a group, of installed packages and of the environment's `PLUGINS`, in order."""
    return [*sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)), *named(group)]


def named(group: str) -> list[EntryPoint]:
    """Those of the environment alone."""
    pairs = (word.partition("=")[::2] for word in os.environ.get(PLUGINS, "").split())
    return [EntryPoint(value, value, of) for of, value in pairs if of == group]


def name_plugin(group: str, dotted: str) -> EntryPoint:
    """Have this process, and those that it starts, find a class: "package.module.Class".

    A registry that has been looked at already sees it after `look_again`.

    Raises:
        PrivpipeError: there is no such class.
    """
    module, _, name = dotted.rpartition(".")
    entry = EntryPoint(name, f"{module}:{name}", group)
    if not module or " " in dotted:
        raise PrivpipeError(f"{dotted!r} names no class. Write it as package.module.Class.")
    try:
        entry.load()
    except Exception as error:  # whatever a foreign module does when it is imported
        raise PrivpipeError(
            f"{dotted} cannot be imported: {type(error).__name__}: {error}. Install its package, or run from the "
            "folder that holds its file."
        ) from error
    word = f"{group}={entry.value}"
    words = os.environ.get(PLUGINS, "").split()
    if word not in words:
        os.environ[PLUGINS] = " ".join([*words, word])
    return entry


class Registry(Mapping[str, type[T]], Generic[T]):
    """Classes by their `name`, which each sets itself; in the order of their names.

    Args:
        folder: the package whose modules hold the classes; those of its sub-packages are not looked at.
        base: what they derive from, "module:Class"; abstract classes are left out.
        group: of the entry points.
        required: class attributes, text, that each must set.

    Raises:
        PrivpipeError: at the first look: an entry point cannot be imported or is no such class, a class lacks an
            attribute, or two have the same name. The message says which package is to blame.
    """

    def __init__(self, folder: str, base: str, group: str, required: tuple[str, ...] = ("name",)) -> None:
        self.folder, self.base, self.group, self.required = folder, base, group, required

    @cached_property
    def _found(self) -> dict[str, type[T]]:
        module, _, base = self.base.partition(":")
        kind: type[T] = getattr(import_module(module), base)
        classes: dict[str, type[T]] = {}
        origins: dict[str, str] = {}
        also_named = {entry.value for entry in named(self.group)}
        for origin, one in [*self._own(kind), *self._foreign(kind)]:
            for attribute in self.required:
                if not isinstance(getattr(one, attribute, None), str):
                    raise PrivpipeError(
                        f"{one.__name__} of {origin} has no {attribute}. Set {attribute}, a text, in the class."
                    )
            name: str = one.name  # type: ignore[attr-defined]  # it was looked at just now
            if classes.get(name) is one and origin in also_named:
                continue
            if name in classes:
                raise PrivpipeError(
                    f"two {self.group} are called {name}: one of {origins[name]} and one of {origin}. Rename one of "
                    "them, or remove one of the packages."
                )
            classes[name], origins[name] = one, origin
        return dict(sorted(classes.items()))

    def _own(self, kind: type[T]) -> Iterator[tuple[str, type[T]]]:
        """Classes of the folder with where they come from."""
        for module in pkgutil.iter_modules(import_module(self.folder).__path__):
            if module.ispkg:
                continue
            name = f"{self.folder}.{module.name}"
            for value in vars(import_module(name)).values():
                if _fits(value, kind) and value.__module__ == name:
                    yield "privpipe", value

    def _foreign(self, kind: type[T]) -> Iterator[tuple[str, type[T]]]:
        """The same of other packages."""
        for entry in offered(self.group):
            origin = f"the package {entry.dist.name}" if entry.dist is not None else entry.value
            loaded = _load(entry, origin)
            if not _fits(loaded, kind):
                gaps = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
                raise PrivpipeError(
                    f"{entry.value} of {origin}, an entry point of {self.group}, must be a class derived from "
                    f"{self.base.replace(':', '.')}{f' that defines {gaps}' if gaps else ''}. Repair or remove the "
                    "package."
                )
            yield origin, loaded

    def look_again(self) -> None:
        """Find anew at the next look: a class was named since the first (`name_plugin`)."""
        self.__dict__.pop("_found", None)

    def of(self, base: type[P]) -> "Kind[P]":
        """Those of its classes that derive from `base`; nothing is looked for before the first look into the result."""
        return Kind(self, base)

    def __getitem__(self, name: str) -> type[T]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class Kind(Mapping[str, type[P]], Generic[P]):
    """The classes of a registry that derive from one base, by their names; made by `Registry.of`."""

    def __init__(self, registry: Registry[Any], base: type[P]) -> None:
        self.registry, self.base = registry, base

    def __getitem__(self, name: str) -> type[P]:
        found: type[P] = self.registry[name]
        if not issubclass(found, self.base):
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name, found in self.registry.items() if issubclass(found, self.base))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _fits(value: Any, kind: type[T]) -> TypeGuard[type[T]]:
    return inspect.isclass(value) and issubclass(value, kind) and value is not kind and not inspect.isabstract(value)


def _load(entry: EntryPoint, origin: str) -> object:
    try:
        return entry.load()
    except Exception as error:  # whatever a foreign module does when it is imported
        raise PrivpipeError(
            f"{entry.value} of {origin}, an entry point of {entry.group}, cannot be imported: "
            f"{type(error).__name__}: {error}. Repair or remove the package."
        ) from error
