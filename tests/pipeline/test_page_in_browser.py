"""The page in a real browser: no console message, no request to any host, readable at a phone's width."""

from typing import Any

import pytest
from browser import PHONE, measured, needs_browser
from projects import Project

pytestmark = [pytest.mark.pipeline, needs_browser]


@pytest.fixture(scope="module")
def seen(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, set[str]]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "index.html").write_bytes(reproduced.read("reports/index.html"))
    return measured(["index.html"], folder, folder)


def test_no_console_message_and_no_request_to_any_host(seen: tuple[dict[str, Any], str, set[str]]) -> None:
    _, console, hosts = seen
    assert (console, hosts) == ("", set())


def test_every_figure_is_drawn_and_nothing_is_wider_than_a_phone(seen: tuple[dict[str, Any], str, set[str]]) -> None:
    page = seen[0]["index.html"]
    assert page["images"] == page["shown"] == 7
    assert page["width"] <= PHONE
