"""The leaderboard: what records say, sorted and filtered in a real browser, from disk and on a phone."""

import html
import json
import re
from pathlib import Path

import pytest
from browser import PHONE, measured, needs_browser, opened
from small_entry import saved

from privpipe.errors import PrivpipeError
from privpipe.report.leaderboard import write_leaderboard

SCHEMES = {
    "scramble": {
        "scheme": {"name": "scramble", "scope": "image"},
        "accuracy": {"mean": 0.3, "low": 0.28, "high": 0.32},
    },
    "blur": {"scheme": {"name": "blur"}, "accuracy": {"mean": 0.7}, "identified": {"at_least": 1.0, "exactly": None}},
    "mix": {
        "scheme": {"name": "mix"},
        "accuracy": {"mean": 0.5},
        "identified": {"at_least": 0.02, "exactly": 0.02},
        "flags": ["network: <b>still</b> learning."],
        "keys": [0, 1, 2],
        "seeds": [0, 1, 2],
        "figure": None,
    },
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboard")
    records = [saved(folder, f"{name}.json", **changed) for name, changed in SCHEMES.items()]
    assert write_leaderboard(records, folder / "page.html") == 3
    before = (folder / "page.html").read_bytes()
    write_leaderboard(records, folder / "page.html")
    assert (folder / "page.html").read_bytes() == before
    return folder / "page.html"


def order(document: str) -> list[str]:
    """The schemes that a page shows, from above."""
    bodies = re.findall(r"<tbody([^>]*)>.*?data-heading=\"scheme\"[^>]*>(\w+) ", document, re.DOTALL)
    return [name for attributes, name in bodies if "hidden" not in attributes]


def test_the_page_says_what_the_records_say(page: Path) -> None:
    text = page.read_text()
    assert order(text) == ["blur", "mix", "scramble"]
    for said in ("30.0 % (28.0 to 32.0 %, 1 run)", "2.00 %", "no number", "3 × 3", "0.200", "20.0", "3.0", "network"):
        assert f">{said}</td>" in text
    assert "network: &lt;b&gt;still&lt;/b&gt; learning." in text
    assert text.count('class="few" title=') == 2  # of three, those with one key and one seed
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", text)


VIEWS = {
    "": ["blur", "mix", "scramble"],
    "#sort=accuracy&falling=0": ["scramble", "mix", "blur"],
    "#sort=at_least&falling=0": ["mix", "scramble", "blur"],
    "#sort=exactly&falling=1": ["scramble", "mix", "blur"],  # no number comes last, whichever way
    "#sort=scheme&falling=0&words=dataset": ["blur", "mix"],
    "#sort=nothing&words=SMOKE+cifar10+blur": ["blur"],
}
LOOK = """<script>
  const seen = {}, look = () => [...table.tBodies].filter(body => !body.hidden)
    .map(body => body.rows[0].cells[0].textContent.split(" ")[0]);
  for (const view of %s) { history.replaceState(null, "", view || "#"); follow(); seen[view] = look(); }
  history.replaceState(null, "", "#"); follow();
  const head = heads[names.indexOf("at_least")];
  head.firstElementChild.click();
  seen.clicked = [look(), head.getAttribute("aria-sort"), location.hash];
  head.firstElementChild.click();
  seen.again = [look(), head.getAttribute("aria-sort"), location.hash];
  document.title = JSON.stringify(seen);
</script></body>"""


@needs_browser
def test_it_is_sorted_and_filtered_as_the_address_says_and_by_clicks(page: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page.read_text().replace("</body>", LOOK % json.dumps(list(VIEWS))))
    document, console, hosts = opened((tmp_path / "page.html").as_uri(), tmp_path)
    assert (console, hosts) == ("", set())
    title = re.search(r"<title>(.*)</title>", document)
    assert title
    seen = json.loads(html.unescape(title[1]))
    assert {view: seen[view] for view in VIEWS} == VIEWS
    assert seen["clicked"] == [["mix", "scramble", "blur"], "ascending", "#sort=at_least&falling=0&words="]
    assert seen["again"] == [["blur", "scramble", "mix"], "descending", "#sort=at_least&falling=1&words="]


@needs_browser
def test_it_fits_a_phone_and_shows_every_figure(page: Path, tmp_path: Path) -> None:
    opened_details = page.read_text().replace("<details>", "<details open>")
    (tmp_path / "page.html").write_text(opened_details)
    seen, console, hosts = measured(["page.html"], tmp_path, tmp_path)
    assert (console, hosts) == ("", set())
    assert seen["page.html"]["width"] <= PHONE
    assert seen["page.html"]["images"] == seen["page.html"]["shown"] == 2


def test_records_of_the_same_and_none_at_all_are_refused(tmp_path: Path) -> None:
    one, two = saved(tmp_path, "a.json"), saved(tmp_path, "b.json", accuracy={"mean": 0.6})
    with pytest.raises(PrivpipeError, match=r"a\.json and .*b\.json are records of the same: .* Leave one of them out"):
        write_leaderboard([one, two], tmp_path / "page.html")
    with pytest.raises(PrivpipeError, match=r"needs records; got none"):
        write_leaderboard([], tmp_path / "page.html")
    other = saved(tmp_path, "c.json", suite={"title": "privpipe-attacks v1"})  # its rows stay
    assert write_leaderboard([one, other], tmp_path / "page.html") == 2
