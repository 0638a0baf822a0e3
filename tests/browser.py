"""A headless browser, for tests of what the project shows in one."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 360  # pixels

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")

# Shows one page after the other in a frame as wide as a phone, and leaves what it measures in its own title.
MEASURE = """<!doctype html><title>-</title><body>
<iframe id="page" style="width:{phone}px;height:640px;border:0"></iframe>
<script>
  const pages = {pages}, measured = {{}}, frame = document.getElementById("page");
  frame.onload = () => {{
    const page = frame.contentDocument, images = [...page.images];
    measured[pages.shift()] = {{
      width: page.documentElement.scrollWidth,
      shown: images.filter(i => i.naturalWidth > 0).length,
      images: images.length,
    }};
    if (pages.length) frame.src = pages[0]; else document.title = JSON.stringify(measured);
  }};
  frame.src = pages[0];
</script>"""


def opened(address: str, folder: Path) -> tuple[str, str, set[str]]:
    """Open an address.

    Args:
        folder: for the browser's profile and log.

    Returns:
        The document as it is in the end; the messages on the console; and the hosts that were asked for anything,
        without the browser's own.
    """
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
        "--virtual-time-budget=20000",
        "--dump-dom",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    asked = re.findall(r'"url":"(?:https?|wss?)://([^/"]+)', log.read_text())
    # The browser's own services are switched off as far as it lets itself.
    hosts = {host for host in asked if not host.endswith((".google.com", ".googleapis.com", ".gstatic.com"))}
    return done.stdout, console, hosts


def measured(pages: Sequence[str], site: Path, folder: Path) -> tuple[dict[str, Any], str, set[str]]:
    """Open pages, files in `site`, as wide as a phone.

    Returns:
        Of each page its width in pixels, and how many images it has and shows; then as `opened`.
    """
    page = site / "measure.html"
    page.write_text(MEASURE.format(phone=PHONE, pages=json.dumps(list(pages))))
    document, console, hosts = opened(page.as_uri(), folder)
    page.unlink()
    title = re.search(r"<title>(\{.*?\})</title>", document)
    assert title, document
    return json.loads(title[1]), console, hosts
