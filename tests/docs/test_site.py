"""The documents as a site: built strictly, opened from disk, complete without any other host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import PHONE, measured, needs_browser, opened
from sphinx.errors import ExtensionError

from privpipe.attacks.registry import ATTACKS
from privpipe.networks.registry import NETWORKS
from privpipe.params import GROUPS
from privpipe.perturb import METHODS
from privpipe.scores.guarantee import table
from privpipe.scores.registry import SCORES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
import catalogue  # noqa: E402  # it lies beside the pages


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build pages as `make docs` does."""
    (line,) = re.findall(r"^\tpython -m sphinx (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    options = line.split()[: line.split().index("--doctree-dir")]
    command = [sys.executable, "-m", "sphinx", *options, "--conf-dir", str(DOCS), "--doctree-dir", str(out / "trees")]
    return subprocess.run([*command, str(source), str(out / "site")], text=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs")
    done = build(DOCS, out)
    assert (done.returncode, done.stderr) == (0, "")
    return out / "site"


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("*.html"))


def test_every_page_is_there(site: Path) -> None:
    assert {page.stem for page in DOCS.glob("*.md")} <= {page.stem for page in pages(site)}
    assert "pixelate" in (site / "searchindex.js").read_text()


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    broken = "# Page\n\n[a](page.md) [a](#anchor) ![a](image.png)\n\n```{toctree}\nlisted\n```\n"
    (tmp_path / "pages" / "index.md").write_text(broken)
    done = build(tmp_path / "pages", tmp_path)
    assert done.returncode != 0
    for missing in ("page.md", "anchor", "image.png", "listed"):
        assert re.search(rf"index.md:\d+: WARNING: .*{missing}", done.stderr), missing


class Loaded(HTMLParser):
    """The addresses that a page loads by itself; a link to click is none."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "srcset", "data", "poster", "action") if tag != "link" else ("href",)
        self.addresses += [value for name, value in attrs if name in names and value]
        self.addresses += [value for name, value in attrs if name == "style" and value and "url(" in value]


def test_no_page_asks_anything_of_another_host(site: Path) -> None:
    for page in pages(site):
        foreign = [address for address in Loaded(page.read_text()).addresses if "//" in address]
        assert not foreign, page.name
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)]*", style.read_text()), style.name


def test_all_that_is_found_is_described(site: Path) -> None:
    """What the code knows stands in the pages."""
    methods, attacks, pipeline = ((site / f"{name}.html").read_text() for name in ("methods", "attacks", "pipeline"))
    for kind in catalogue.own(METHODS).values():
        assert f'<section id="{kind.name.replace("_", "-")}">' in methods, kind.name
    for name in catalogue.own(ATTACKS):
        assert f'<section id="{name.replace("_", "-")}">' in attacks, name
    for name in (f"{group}.{field}" for group, fields in GROUPS.items() for field in fields.model_fields):
        assert f">{name}</span>" in pipeline, name
    for score in catalogue.own(SCORES):
        assert f">{score}</span>" in attacks
    for network in catalogue.own(NETWORKS):
        assert f">{network}</span>" in pipeline
    for stage in ("keygen", "train", "attack", "report"):
        assert f">{stage}</span>" in pipeline


def test_a_page_without_its_marker_ends_the_build(tmp_path: Path) -> None:
    app = SimpleNamespace(doctreedir=tmp_path, srcdir=tmp_path)
    with pytest.raises(ExtensionError, match=r"docs/methods.md must hold this line once.*writes the methods here"):
        catalogue.fill(app, "methods", ["# Methods\n"])


def test_what_says_nothing_of_itself_ends_the_build() -> None:
    class Silent:
        pass

    with pytest.raises(ExtensionError, match="Silent needs a docstring"):
        catalogue.documented(Silent)


def test_a_product_is_no_emphasis() -> None:
    assert catalogue.escaped("k*k of `k*k`\n\n    k*k\n") == "k\\*k of `k*k`\n\n    k*k\n"


def test_the_committed_table_of_guarantees_is_what_the_command_prints() -> None:
    assert table().strip() in (DOCS / "threat-model.md").read_text()


@needs_browser
def test_pages_open_from_disk_on_a_phone(site: Path, tmp_path: Path) -> None:
    names = [page.name for page in pages(site)]
    found, console, hosts = measured(names, site, tmp_path)
    assert (console, hosts) == ("", set())
    assert list(found) == names
    for name, page in found.items():
        assert page["width"] <= PHONE and page["images"] == page["shown"], (name, page)


@needs_browser
def test_the_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    document, console, hosts = opened(f"{(site / 'search.html').as_uri()}?q=pixelate", tmp_path)
    assert (console, hosts) == ("", set())
    assert 'href="methods.html' in document.partition('class="search"')[2]
