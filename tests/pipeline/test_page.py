"""The page of a reproduced project: self-contained, readable, and without secrets."""

import csv
import json
from html.parser import HTMLParser

import pytest
from projects import Project

from privpipe.owner.key import new_key

pytestmark = pytest.mark.pipeline


class Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(reproduced: Project) -> Page:
    return Page(reproduced.read("reports/index.html").decode())


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    addresses = [values.get(name) or "" for tag, values in page.tags if tag != "a" for name in ("src", "href")]
    assert all(address == "" or address.startswith("data:") for address in addresses)
    assert [values["href"] for tag, values in page.tags if tag == "a"] == ["times.html"]
    assert not [tag for tag, _ in page.tags if tag in {"script", "iframe", "object"}]


def test_every_figure_is_there_with_an_alternative_text(page: Page) -> None:
    images = [values for tag, values in page.tags if tag == "img"]
    assert len(images) == 7
    assert all(len(values["alt"] or "") > 20 for values in images)


def test_the_accuracy_and_every_parameter_are_on_the_page(reproduced: Project, page: Page) -> None:
    evaluate = reproduced.metrics("evaluate")
    assert f"{100 * evaluate['test_accuracy']:.1f} %" in page.text
    for name in ("perturb.k", "train.lr", "key.seed", "data.split_seed"):
        assert name in page.text


def test_the_measured_privacy_is_on_the_page(reproduced: Project, page: Page) -> None:
    privacy = reproduced.metrics("privacy")
    words = " ".join(page.text.split())
    for level in ("l0", "l1", "l2", "l3"):
        assert level.upper() in words
        assert f"{privacy[f'{level}_ssim']:.3f}" in words
        assert privacy[f"{level}_attack"].replace("_", " ") in words
    assert "Against every attack, tried or not: No guarantee: " in words
    assert "of the uploaded images apart, without the key" in words


def test_the_times_have_a_page_of_their_own(reproduced: Project) -> None:
    page = Page(reproduced.read("reports/times.html").decode())
    text = "".join(page.text.split())  # cells touch each other
    train, attack = (reproduced.metrics(f"times/{stage}") for stage in ("train", "attack"))
    assert f"training{train['seconds']:.1f}simagespersecond{train['images_per_second']:,.0f}" in text
    assert f"{attack['seconds']:.1f}stogether" in text
    rows = list(csv.DictReader(reproduced.read("plots/times.csv").decode().splitlines()))
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(attack["seconds"], abs=0.01)
    for row in rows:
        attack_name = row["attack"].replace("_", "")
        assert f"{attack_name}{row['level']}{row['stolen']}{row['pairs']}{float(row['seconds']):.2f}" in text
    assert [values["href"] for tag, values in page.tags if tag == "a"] == ["index.html"]


def test_the_key_is_not_on_the_page(reproduced: Project) -> None:
    key = json.loads(reproduced.read("data/private/key.json"))
    content = reproduced.read("reports/index.html")
    secret = new_key(key["seed"]).secret
    assert secret not in content and secret.hex().encode() not in content
    assert key["fingerprint"].encode() in content


def test_a_project_without_a_survey_has_its_page_and_one_with_another_a_new_page(project: Project) -> None:
    survey = project.folder / "metrics" / "survey.csv"
    content = survey.read_text()
    survey.unlink()
    assert "Running stage 'report'" in project.dvc("repro")
    assert "up to date" in project.dvc("repro")
    assert "accuracy by epoch" in project.json("plots", "show", "--json")["data"]
    survey.write_text(content.rsplit("\n", 2)[0] + "\n")
    assert "Running stage 'report'" in project.dvc("repro")
