"""The page in a real browser: no console message, no request to any host, readable at a phone's width."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Project

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path"),
]

PHONE = 360
# Measures the page in a frame as wide as a phone, and leaves the result in its own document.
MEASURE = f"""<!doctype html><title>-</title><body>
<iframe id="page" src="index.html" style="width:{PHONE}px;height:640px;border:0"></iframe>
<script>
  const frame = document.getElementById("page");
  frame.onload = () => {{
    const page = frame.contentDocument, images = [...page.images];
    document.title = JSON.stringify({{
      width: page.documentElement.scrollWidth,
      shown: images.filter(i => i.naturalWidth > 0).length,
      images: images.length,
    }});
  }};
</script>"""


def browse(page: Path, folder: Path, *options: str) -> tuple[str, str, list[str]]:
    """Open a page headless: its document, the console's messages, and the addresses that were asked for."""
    log = folder / "net.json"
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        f"--user-data-dir={folder / 'profile'}",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--log-net-log={log}",
        "--virtual-time-budget=5000",
        *options,
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    asked = re.findall(r'"url":"([^"]+)"', log.read_text())
    return done.stdout, console, asked


@pytest.fixture(scope="module")
def seen(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[str]]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_bytes(reproduced.read("reports/index.html"))
    (folder / "measure.html").write_text(MEASURE)
    return browse(folder / "measure.html", folder)


def test_no_console_message_and_no_request_to_any_host(seen: tuple[str, str, list[str]]) -> None:
    _, console, asked = seen
    assert console == ""
    # The browser's own services are switched off as far as it lets itself; the page may ask for nothing at all.
    hosts = {address.split("/")[2] for address in asked if address.startswith(("http:", "https:", "ws:", "wss:"))}
    assert not {host for host in hosts if not host.endswith((".google.com", ".googleapis.com", ".gstatic.com"))}


def test_every_figure_is_drawn_and_nothing_is_wider_than_a_phone(seen: tuple[str, str, list[str]]) -> None:
    document = seen[0]
    title = re.search(r"<title>(.*?)</title>", document)
    assert title, document
    measured = json.loads(title[1])
    assert measured["images"] == measured["shown"] == 7
    assert measured["width"] <= PHONE
