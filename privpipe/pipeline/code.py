"""What the code behind a module does: a stage runs again when that changes, and for nothing else.

`Sources.behind` follows the imports of a module through our packages, also those inside functions. Results depend on
code, but not on comments, docstrings or layout, so these are left out.

What a `privpipe.plugins.Registry` finds when a program runs counts for the module that makes it: every module of the
registry's folder, and the installed packages that have entry points of its group.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from privpipe.errors import PrivpipeError
from privpipe.plugins import offered

PACKAGES = ("privpipe", "stages", "studies")
# Imports that change no output, by module. The parameters ask the methods for their legal values and the networks what
# they demand, as networks of blocks ask the methods, to refuse an experiment early: that can refuse a run but change no
# result, and the stages that run methods or networks import them themselves. Without these cuts a line in the blur
# would download the images again, or train.
ASKED = frozenset({"privpipe.perturb", "privpipe.networks.registry"})
CUT = {
    "privpipe.parameters": ASKED,
    "privpipe.params": ASKED,
    "privpipe.networks.descrambler": frozenset({"privpipe.perturb"}),
}
INSTALLED = "installed:"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def meaning(source: str) -> str:
    """A program without its comments, layout and docstrings; the same whatever Python reads it."""
    return _meaning(ast.parse(source))


def _meaning(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return _canonical(tree)


def _canonical(node: Any) -> str:
    """As `ast.dump`, which writes empty fields in some versions of Python and leaves them out in others."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({','.join(f'{name}={_canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    return repr(node)


@dataclass(frozen=True)
class Program:
    """What the text of a module tells.

    Args:
        digest: the SHA-256 of its meaning.
        imports: of each import in it: the number of leading dots, the module, and the names taken from it.
        strings: all strings in it.
        registries: folder and group of entry points of each `Registry` that it makes.
    """

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    strings: frozenset[str]
    registries: tuple[tuple[str, str], ...] = ()


@cache
def _program(text: bytes) -> Program:
    tree = ast.parse(text)
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    strings, registries = set(), []
    for node in _running(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Registry":
            folder, _, group, *_ = (ast.literal_eval(argument) for argument in node.args)
            registries.append((folder, group))
    return Program(_sha256(_meaning(tree).encode()), tuple(imports), frozenset(strings), tuple(registries))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which only type checkers read."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


class Discovered(NamedTuple):
    """What a registry finds: modules of its folder, and the digests of files of installed packages."""

    modules: set[str]
    installed: dict[str, str]

    def of(self, module: str) -> "Discovered":
        """Of it, a module, or the files of the installed package that the module is of."""
        top = f"{INSTALLED}{module.partition('.')[0]}"
        files = {name: digest for name, digest in self.installed.items() if name.startswith((f"{top}/", f"{top}.py"))}
        return Discovered(self.modules & {module}, files)


class Sources:
    """Our packages below a folder; each module is read once.

    Args:
        root: the folder that holds the packages.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._known: dict[str, tuple[dict[str, str], set[str], dict[str, Discovered]]] = {}

    def behind(
        self, module: str, without: frozenset[str] = frozenset(), only: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, str]:
        """The SHA-256 of what each file does that a module needs, by its path below the root, in order.

        That is the module itself and what it imports, directly or not, but for `CUT`; the files beside each of them
        that it names in a string (a template, a table); and what their registries find. Files of installed packages
        are named "installed:" and their place in the folder of packages.

        Args:
            module: its dotted name.
            without: modules that are left out themselves; what they import is not.
            only: by the folder of a registry, the one module that is used of all that it finds.

        Raises:
            PrivpipeError: there is no such module, or a file cannot be read.
        """
        if self._path(module) is None:
            raise PrivpipeError(f"there is no code {module} in {self._root}. Restore it, or correct its name.")
        digests: dict[str, str] = {}
        waiting, seen = [module], {module}
        while waiting:
            name = waiting.pop()
            if name not in self._known:
                self._known[name] = self._read(name)
            own, imports, registries = self._known[name]
            digests |= {} if name in without else own
            for folder, discovered in registries.items():
                modules, installed = discovered if folder not in only else discovered.of(only[folder])
                imports, digests = imports | modules, digests | installed
            waiting += imports - seen
            seen |= imports
        return dict(sorted(digests.items()))

    def _path(self, module: str) -> Path | None:
        """The file of a module of our packages; none where there is no such module."""
        if module.split(".")[0] not in PACKAGES:
            return None
        path = self._root.joinpath(*module.split("."))
        files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
        return next((file for file in files if file.is_file()), None)

    def _read(self, module: str) -> tuple[dict[str, str], set[str], dict[str, Discovered]]:
        """The digests of a module and of the files that it names, the modules that it imports, and what its registries
        find, by their folder."""
        path = self._path(module)
        assert path is not None  # asked for by `behind`, which looked, or found by `_imports`
        try:
            program = _program(path.read_bytes())
            files = [file for file in path.parent.iterdir() if file.name in program.strings and file.suffix != ".py"]
            digests = {path: program.digest, **{file: _sha256(file.read_bytes()) for file in files if file.is_file()}}
        except (OSError, SyntaxError, ValueError) as error:
            raise PrivpipeError(f"cannot read the code {path}: {error}. Correct or restore it.") from error
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        imports = set(self._imports(program, package)) - CUT.get(module, frozenset())
        ours = {file.relative_to(self._root).as_posix(): digest for file, digest in digests.items()}
        registries = {}
        for folder, group in program.registries:
            installed = {name: digest for entry in offered(group) for name, digest in _installed(entry).items()}
            registries[folder] = Discovered(set(self._modules(folder)), installed)
        return ours, imports, registries

    def _modules(self, folder: str) -> Iterator[str]:
        """The modules of one of our packages, but not those of packages in it."""
        for path in self._root.joinpath(*folder.split(".")).glob("*.py"):
            if path.name != "__init__.py":
                yield f"{folder}.{path.stem}"

    def _imports(self, program: Program, package: str) -> Iterator[str]:
        """The modules of our packages that a program in a package imports."""
        for dots, module, names in program.imports:
            above = package.rsplit(".", dots - 1)[0] if dots else ""
            base = ".".join(filter(None, (above, module)))
            # What is taken from a package is a module of it, or a name that the package's own code has.
            inside = [f"{base}.{name}" for name in names] or [base]
            yield from (name for name in (name if self._path(name) else base for name in inside) if self._path(name))


def _installed(entry: EntryPoint) -> dict[str, str]:
    """The digests of all files of the installed package, or single module, that an entry point names.

    Where there is none of that name, the registry refuses it when a program runs.
    """
    spec = find_spec(entry.module.partition(".")[0])  # of a name without dots: imports nothing
    if spec is None:
        return {}
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    places = [(path, folder.parent) for folder in folders for path in folder.rglob("*") if path.suffix != ".pyc"]
    if not folders and spec.origin is not None:
        places = [(Path(spec.origin), Path(spec.origin).parent)]
    files = [(path, above) for path, above in places if path.is_file()]
    return {f"{INSTALLED}{path.relative_to(above).as_posix()}": _digest(path) for path, above in files}


def _digest(path: Path) -> str:
    """The SHA-256 of what a file of another package does, or holds."""
    content = path.read_bytes()
    try:
        return _program(content).digest if path.suffix == ".py" else _sha256(content)
    except (SyntaxError, ValueError):  # nobody imports it, or whoever does is told
        return _sha256(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
