"""What a method does not say of itself is missed by name, and nothing is made up in its place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.registry import ATTACKS, attacks
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.suite import suite
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.base import Array
from privpipe.report.advice import verdict
from privpipe.report.figures import method_figure
from privpipe.scores.guarantee import guarantee
from privpipe.scores.privacy import key_recovery
from privpipe.scores.scoring import Judgement, judge, table_columns
from privpipe.store import PERTURBED, Header

SIZE = 16
DRAWN = draw(60, SIZE, rng=np.random.default_rng(0))
IMAGES, LABELS = DRAWN.images, np.asarray(DRAWN.labels)


class Rotate(Perturbation):
    """Adds a secret number to all values, modulo 256; says nothing of itself but what it must."""

    name = "rotate"
    summary = "a secret number is added to all values, modulo 256"
    keyed = True
    exact = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    @property
    def dataset_key(self) -> Array:
        return np.array([100], np.uint8)

    def apply(self, images: Array, *place: Any, **options: Any) -> Array:
        return images + self.dataset_key


class Mirror(Perturbation):
    """A keyless method that nobody has heard of."""

    name = "mirror"
    summary = "left and right change places"
    exact = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, images: Array, *place: Any, **options: Any) -> Array:
        return images[:, :, ::-1]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Rotate, Mirror):
        monkeypatch.setitem(METHODS._found, kind.name, kind)


GAPS: list[tuple[str, Callable[[Perturbation], Any]]] = [
    ("operator", lambda method: method.operator(None)),
    ("key_form", lambda method: method.key_form(3)),
    ("key_equations", lambda method: method.key_equations()),
    ("key_similarity", lambda method: method.key_similarity(np.zeros(1), np.zeros(1))),
    ("chance_key_similarity", lambda method: method.chance_key_similarity(3)),
    ("log_likelihood", lambda method: method.log_likelihood(IMAGES[:2], IMAGES[:2])),
]


@pytest.mark.parametrize(("member", "ask"), GAPS)
def test_a_gap_names_the_method_and_what_it_lacks(member: str, ask: Callable[[Perturbation], Any]) -> None:
    with pytest.raises(PrivpipeError, match=rf"^rotate .*\. Define Rotate\.{member} if there is one\.$"):
        ask(Rotate(SIZE))


def test_restoration_and_key_recovery_refuse_what_the_method_does_not_say() -> None:
    prior = Prior.generic(SIZE, 3)
    with pytest.raises(PrivpipeError, match=r"^rotate does not say what shape its key has"):
        restore(IMAGES, Rotate(SIZE), np.array([100]), prior)
    with pytest.raises(PrivpipeError, match=r"^mirror has no linear operator"):
        restore(IMAGES, Mirror(SIZE), None, prior)
    with pytest.raises(PrivpipeError, match=r"^rotate does not say what shape its key has"):
        key_recovery(Rotate(SIZE), np.array([100]), np.array([100]))


def judged(method: Perturbation) -> Judgement:
    perturbed = method.apply(IMAGES)
    pairs = Pairs(IMAGES[:5], perturbed[:5])
    view = AdversaryView(method.name, 1, "dataset", 0.0, perturbed[:30], perturbed[30:40], IMAGES[40:], pairs)
    records = suite(view, attacks(0, 0, 1, "cpu"))
    return judge(view, records, IMAGES[30:40], LABELS[30:40], method, lambda images: np.zeros(len(images), int))


def test_the_score_goes_on_without_what_is_not_known_and_says_why() -> None:
    found = judged(Rotate(SIZE, stream=KeyStream(bytes(32))))
    missing = {(level, name): why for level, name, _, why in found.problems}
    assert set(missing) == {("L2", "known_plaintext"), ("L3", "key"), ("L0", "matching"), ("L0", "random key")}
    assert all(why.startswith("rotate ") for why in missing.values())
    assert found.metrics["l0_ssim"] is not None and found.metrics["l0_attack"] == "as_is"
    for name in ("l0_key_recovery", "chance_key_recovery", "l0_reidentified_top5"):
        assert name in found.metrics
    assert found.metrics["l0_key_recovery"] is None and found.metrics["chance_key_recovery"] is None
    assert found.metrics.keys() == judged(PERTURBATIONS["none"](SIZE)).metrics.keys()
    assert all(len(row) == len(table_columns()) for row in found.table())


def test_a_method_without_key_has_a_likelihood_of_its_own() -> None:
    found = judged(Mirror(SIZE))
    assert found.problems == [] and found.metrics["l0_reidentified_top1"] == 1


@pytest.mark.parametrize("name", ["rotate", "mirror"])
def test_an_unknown_method_is_captioned_by_its_own_words(name: str) -> None:
    figure = method_figure(name, SIZE, 1, "dataset", 0.0)
    said = figure.axes[0].texts[0].get_text()
    assert said == f"{name}: {PERTURBATIONS[name].summary}" and "left as they are" not in said
    header = Header(PERTURBED, name, 1, "dataset", ("a", "b"), (0.0, 255.0), (SIZE, SIZE, 3), "uint8")
    assert verdict(header)[0] is None
    assert guarantee(name, SIZE, 3, 1, "dataset", 0.0).statement.startswith("No guarantee")


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_method_of_ours_leaves_no_gap(name: str) -> None:
    kind = PERTURBATIONS[name]
    method = kind(SIZE, (kind.legal_k(SIZE) or [1, 1])[1], "dataset", 25.0, KeyStream(bytes(32)))
    assert kind.summary and not kind.summary.endswith(".")
    assert method.log_likelihood(method.apply(IMAGES[:3]), IMAGES[:4]).shape == (3, 4)
    assert method.drawing().title
    if not method.keyed:
        assert method.key_form(3) is None
        return
    key = method.dataset_key
    assert key is not None and method.key_form(3) == key.shape
    assert method.key_similarity(key, key).pixels == pytest.approx(1)
    assert 0 < method.chance_key_similarity(3).pixels < 1
    if method.pairs_attack is not None:
        assert ATTACKS[method.pairs_attack]().applies(method)
    if method.pairs_attack == "known_plaintext":
        assert method.key_equations()
    if method.undone_by_key:
        np.testing.assert_allclose(method.invert(method.apply(IMAGES[:3]), key), IMAGES[:3], atol=0.2)
