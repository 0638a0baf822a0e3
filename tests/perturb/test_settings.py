"""Settings that a method has of its own: declared once, checked with reasons, bound into the key, kept in files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

import privpipe
from privpipe.attacks.suite import load_view
from privpipe.cli.inspection import as_text as shown
from privpipe.cli.inspection import inspect_file
from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key
from privpipe.owner.perturbing import perturb_file
from privpipe.params import check_params
from privpipe.perturb import METHODS, Perturbation
from privpipe.perturb.base import Array
from privpipe.perturb.settings import as_text, parsed, setting
from privpipe.store import LEAKED, PERTURBED, PUBLIC, RAW, SPLITS, Header, create, open_store

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
SECRET = bytes(32)
COMMITTED = YAML(typ="safe", pure=True).load(Path("params.yaml"))


@dataclass(frozen=True)
class Fade(Perturbation):
    """A secret number is added, times a strength, modulo 256."""

    strength: float = setting(0.5, "weight of the secret", above=0, most=1)
    steps: float = setting(4, "steps of it", least=1, whole=True)

    name = "fade"
    summary = "a secret number is added"
    keyed = exact = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, images: Array, *place: Any, **options: Any) -> Array:
        return images + (self.strength * self.shared_bytes(1)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _fade_is_a_method(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(METHODS._found, "fade", Fade)
    yield


def experiment(**perturb: Any) -> Any:
    """The committed experiment with other images and another perturbation."""
    values = {name: dict(group) for name, group in COMMITTED.items()}
    values["perturb"] = {"k": 1, "scope": "dataset", "sigma": 0.0, **perturb}
    values["model"]["arch"] = "baseline"
    return check_params(values).perturb


def test_a_setting_is_a_field_with_legal_values_and_a_default() -> None:
    strength, steps = Fade.own_settings().values()
    assert (strength.name, strength.default, strength.legal) == ("strength", 0.5, "a number over 0 up to 1")
    assert steps.legal == "a whole number 1 or more"
    assert Fade(16).settings == {"strength": 0.5, "steps": 4.0}
    assert METHODS["block_scramble"].own_settings() == {}


@pytest.mark.parametrize("value", [0, 1.01, float("nan"), float("inf"), "1", True, None])
def test_what_is_not_legal_is_refused_with_what_is(value: Any) -> None:
    with pytest.raises(
        PrivpipeError, match=r"perturb\.strength \(weight of the secret\) must be a number over 0 up to 1"
    ):
        experiment(method="fade", strength=value)


def test_unknown_names_are_refused_and_those_of_other_methods_ignored() -> None:
    with pytest.raises(PrivpipeError, match=r"a parameter of perturb must be one of .*strength.*; got 'strenght'"):
        experiment(method="fade", strenght=0.5)
    assert experiment(method="fade", strength=1).own == {"strength": 1}
    assert experiment(method="block_scramble", k=4, strength="anything").own == {}
    with pytest.raises(
        PrivpipeError, match=r"must be a whole number 1 or more for perturb.method=fade; got 1.5. Use 4,"
    ):
        experiment(method="fade", steps=1.5)


def test_a_call_takes_settings_by_name_and_refuses_those_of_other_methods() -> None:
    half, whole = (privpipe.perturb(IMAGES, "fade", key=SECRET, strength=strength) for strength in (0.5, 1.0))
    assert (half != whole).any()
    assert (half == privpipe.perturb(IMAGES, "fade", key=SECRET)).all()
    with pytest.raises(PrivpipeError, match=r"perturb.method=none has no setting strength; got 1. Leave it out."):
        privpipe.perturb(IMAGES, "none", strength=1)
    with pytest.raises(PrivpipeError, match=r"has no setting fraction; got 1. Use strength, steps, or leave it out."):
        privpipe.perturb(IMAGES, "fade", key=SECRET, fraction=1)


def test_every_setting_is_bound_into_the_key_stream() -> None:
    method = Fade(16, stream=new_key(0).stream)
    others = [replace(method, strength=1.0), replace(method, steps=5)]
    assert len({one.shared_bytes(16).tobytes() for one in (method, *others)}) == 3
    assert (replace(method, strength=0.5).shared_bytes(16) == method.shared_bytes(16)).all()


def test_a_file_says_its_settings_and_attacks_use_them(tmp_path: Path) -> None:
    header = Header(RAW, "none", 1, "dataset", ("a", "b"), (0.0, 255.0), (16, 16, 3), "uint8")
    labels, paths = np.arange(12) % 2, {kind: tmp_path / kind for kind in (RAW, PUBLIC, LEAKED, PERTURBED)}
    for kind in (RAW, PUBLIC, LEAKED):
        with create(paths[kind], replace(header, kind=kind), dict.fromkeys(SPLITS, 12)) as writer:
            for split in SPLITS:
                writer.write(split, 0, IMAGES, labels)
    perturb_file(paths[RAW], paths[PERTURBED], experiment(method="fade", strength=0.25), new_key(0), progress=False)
    with open_store(paths[PERTURBED], PERTURBED) as store:
        assert store.header.settings == {"strength": 0.25, "steps": 4.0}
    assert "fade, k = 1, scope dataset, steps=4, strength=0.25" in shown(inspect_file(paths[PERTURBED]))
    view = load_view(paths[PERTURBED], paths[PUBLIC], paths[LEAKED], 5, None)
    assert view.transformation.settings == view.perturbation(0).settings == {"strength": 0.25, "steps": 4.0}


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a b": 1.0}', '{"a": NaN}', '{"a": "1"}'])
def test_settings_as_text_come_back_and_nothing_else_is_read(text: str) -> None:
    assert parsed(as_text({"b": 1, "a": 0.1})) == {"a": 0.1, "b": 1.0}
    assert parsed(as_text({})) == {}
    with pytest.raises(ValueError, match="its settings are"):
        parsed(text)


def test_a_class_that_is_no_dataclass_is_told_so() -> None:
    class Lost(Perturbation):
        strength: float = setting(0.5, "weight")

    with pytest.raises(PrivpipeError, match=r"Lost declares settings, .* Put @dataclass\(frozen=True\) above it."):
        Lost.own_settings()
