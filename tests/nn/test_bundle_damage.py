"""Nothing but a whole model file is taken for one."""

import pickle
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import bundle, forged
from safetensors.torch import save_file
from torch import Tensor

from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import load_bundle, save_bundle
from privpipe.nn.inference import predict


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"no\.safetensors is missing\. Train it with `dvc repro train`"):
        load_bundle(tmp_path / "no.safetensors")
    with pytest.raises(PrivpipeError, match="is missing"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.999])
def test_a_truncated_model(saved: Path, tmp_path: Path, kept: float) -> None:
    content, path = saved.read_bytes(), tmp_path / "short.safetensors"
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(PrivpipeError, match=r"short\.safetensors is no privpipe model, or damaged .*`dvc repro train`"):
        load_bundle(path)


def test_a_longer_file_than_it_says(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(PrivpipeError, match="is no privpipe model, or damaged"):
        load_bundle(path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_loaded(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.safetensors", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(PrivpipeError, match="is no privpipe model"):
        load_bundle(path)
    torch.save({"weight": Bomb(trace)}, path)
    with pytest.raises(PrivpipeError, match="is no privpipe model"):
        load_bundle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"privpipe": ""}, {"privpipe": "[1]"}, {"privpipe": "[" * 9999}]
)
def test_other_safetensors_files(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(PrivpipeError, match=r"foreign\.safetensors is no privpipe model, or damaged"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("field", "value"), [("format", "other"), ("format_version", 1), ("format_version", 3), ("format_version", "2")]
)
def test_another_format_or_version(saved: Path, tmp_path: Path, field: str, value: Any) -> None:
    path = forged(saved, tmp_path / "m", lambda about: about.update({field: value}))
    with pytest.raises(PrivpipeError, match=r"is no privpipe model, or damaged \(format .*, version"):
        load_bundle(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("model.fc.bias"),
        lambda t: t.pop("normalise.std"),
        lambda t: t.update({"extra": torch.zeros(1)}),
        lambda t: t.update({"model.fc.bias": torch.zeros(3)}),
        lambda t: t.update({"model.conv1.weight": torch.zeros(32, 27)}),
        lambda t: t.update({"normalise.mean": torch.zeros(4)}),
        lambda t: t.update({"model.bfc.weight": torch.zeros(16, 4, 4)}),
    ],
)
def test_tensors_of_another_architecture(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], object]
) -> None:
    with pytest.raises(PrivpipeError, match="its tensors are not those of its architecture"):
        load_bundle(forged(saved, tmp_path / "m", tensors=change))


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([float("nan"), 0]),
        torch.tensor([float("inf"), 0]),
        torch.tensor([1, 2]),
        torch.zeros(2, dtype=torch.float16),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.float8_e4m3fn),
    ],
)
def test_tensors_that_are_no_finite_float32(saved: Path, tmp_path: Path, value: Tensor) -> None:
    path = forged(saved, tmp_path / "m", tensors=lambda t: t.update({"model.fc.bias": value}))
    with pytest.raises(PrivpipeError, match="a tensor is not float32, or holds NaN or infinite values"):
        load_bundle(path)


def test_a_model_of_the_first_format_version(saved: Path, tmp_path: Path) -> None:
    def older(about: dict[str, Any]) -> None:
        for name in ("sigma", "key_fingerprint", "salt"):
            del about[name]
        about["format_version"] = 1

    said = r"version 1; this privpipe reads 'privpipe-model', version 2\)\. Train it again with `dvc repro train`"
    with pytest.raises(PrivpipeError, match=said):
        load_bundle(forged(saved, tmp_path / "m", older))


def test_a_weight_that_changed_is_noticed(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(PrivpipeError, match="its checksum differs: a weight or its description changed"):
        load_bundle(tmp_path / "m")


@pytest.mark.parametrize("arch", ["descrambler", "modern_three_layer"])
def test_every_flipped_bit_is_noticed(tmp_path: Path, arch: str) -> None:
    path = tmp_path / "m"
    save_bundle(path, replace(bundle(arch), class_names=("Käfer", "×")))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    bits = [*rng.choice(8 * len(content), 150, replace=False), *rng.choice(header, 150, replace=False)]
    for bit in map(int, bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(PrivpipeError, match=r"m is no privpipe model, or damaged .*Train it again with `dvc repro"):
            load_bundle(path)
    path.write_bytes(content)
    load_bundle(path)


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_a_normalisation_that_divides_by_nothing(saved: Path, tmp_path: Path, std: float) -> None:
    path = forged(saved, tmp_path / "m", tensors=lambda t: t.update({"normalise.std": torch.tensor([1, std, 1])}))
    with pytest.raises(PrivpipeError, match="its normalisation is impossible"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm1.running_var"), "its tensors are not those of its architecture"),
        (lambda t: t.update({"model.norm2.running_mean": torch.zeros(33)}), "its tensors are not those of its arch"),
        (lambda t: t.update({"model.norm1.num_batches_tracked": torch.tensor(1)}), "its tensors are not those of its"),
        (lambda t: t["model.norm1.running_var"].fill_(float("nan")), "a tensor is not float32, or holds NaN"),
        (lambda t: t.update({"model.norm1.weight": torch.ones(32).half()}), "a tensor is not float32, or holds NaN"),
        (lambda t: t["model.norm2.running_var"][7:8].fill_(-0.1), r"damaged \(a variance is negative\)"),
    ],
)
def test_damaged_normalisation_layers(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    save_bundle(tmp_path / "m", bundle("modern_three_layer"))
    with pytest.raises(PrivpipeError, match=message):
        load_bundle(forged(tmp_path / "m", tmp_path / "forged", tensors=change))


@pytest.mark.parametrize(("arch", "other"), [("three_layer", "modern_three_layer"), ("modern_three_layer", "baseline")])
def test_the_name_of_another_network(tmp_path: Path, arch: str, other: str) -> None:
    save_bundle(tmp_path / "m", bundle(arch))
    path = forged(tmp_path / "m", tmp_path / "forged", lambda about: about["architecture"].update(arch=other))
    with pytest.raises(PrivpipeError, match="its tensors are not those of its architecture"):
        load_bundle(path)


@pytest.mark.parametrize("arch", ["descrambler", "modern_descrambler"])
def test_a_descrambler_for_other_blocks(tmp_path: Path, arch: str) -> None:
    save_bundle(tmp_path / "m", replace(bundle(arch), k=2))
    with pytest.raises(PrivpipeError, match=r"damaged \(k=2, and its descrambler has k=4\)"):
        load_bundle(tmp_path / "m")


FIELDS = ("architecture", "class_names", "method", "k", "scope", "sigma", "key_fingerprint", "salt", "image_range")
HOSTILE = [10**9, 10**400, -8, -4, 0, True, False, None, "8", 8.0, 1e300, float("nan"), [8], {}]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: str(v)[:8])
@pytest.mark.parametrize("field", ["arch", "image_size", "channels", "classes", "k"])
def test_hostile_architectures(saved: Path, tmp_path: Path, field: str, value: Any) -> None:
    path = forged(saved, tmp_path / "m", lambda about: about["architecture"].update({field: value}))
    with pytest.raises(PrivpipeError, match=r"is no privpipe model, or damaged \("):
        load_bundle(path)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: str(v)[:8])
@pytest.mark.parametrize("field", [*FIELDS, "dtype"])
def test_hostile_fields(saved: Path, tmp_path: Path, field: str, value: Any) -> None:
    if field in ("method", "scope", "dtype", "key_fingerprint", "salt") and value == "8":
        value = ["8"]
    if field == "sigma" and type(value) is float:
        value = -abs(value)
    path = forged(saved, tmp_path / "m", lambda about: about.update({field: value}))
    with pytest.raises(PrivpipeError, match=r"is no privpipe model, or damaged \("):
        load_bundle(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("class_names", ["ant"]),
        ("class_names", ["ant", "bee", "cat"]),
        ("class_names", ["ant", 2]),
        ("class_names", "ab"),
        ("k", 2),
        ("image_range", [0.0]),
        ("image_range", [255.0, 0.0]),
        ("image_range", [0.0, float("inf")]),
        ("image_range", ["0", "255"]),
        ("image_range", [0.0, 10**400]),
        ("more", 1),
    ],
)
def test_fields_that_contradict_each_other(saved: Path, tmp_path: Path, field: str, value: Any) -> None:
    path = forged(saved, tmp_path / "m", lambda about: about.update({field: value}))
    with pytest.raises(PrivpipeError, match=r"is no privpipe model, or damaged \("):
        load_bundle(path)


@pytest.mark.parametrize("arch", ["descrambler", "modern_descrambler"])
@pytest.mark.parametrize("size", [2048, 10**6, 10**9])
def test_a_huge_architecture_takes_no_memory(saved: Path, tmp_path: Path, size: int, arch: str) -> None:
    def claim(about: dict[str, Any]) -> None:
        about["architecture"].update(arch=arch, image_size=size, classes=size)

    path = forged(saved, tmp_path / "m", claim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PrivpipeError, match="is no privpipe model"):
        load_bundle(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "drop", "insert"]),
        # Mostly the header, which is at the beginning: what follows is numbers, each a legal weight.
        st.one_of(st.integers(0, 1500), st.integers(0, 2**20)),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=edits)
def test_mutated_bytes_are_refused_or_give_a_whole_model(
    saved: Path, tmp_path: Path, edits: list[tuple[str, int, int]]
) -> None:
    content = bytearray(saved.read_bytes())
    for kind, where, byte in edits:
        place = where % len(content)
        if kind == "insert":
            content.insert(place, byte)
        elif kind == "drop":
            del content[place]
        else:
            content[place] = byte
    path = tmp_path / "mutated.safetensors"
    path.write_bytes(content)
    try:
        found = load_bundle(path)
    except PrivpipeError:
        return
    assert content == saved.read_bytes()
    scores = predict(found.model, found.normalise, torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert scores.shape == (1, len(found.class_names))
