"""`privpipe.perturb` and `privpipe.attack`: the package in one call each, which is also a package to import from."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import privpipe
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream

SIZE, SECRET = 16, bytes(range(32))
IMAGES = draw(400, SIZE, rng=np.random.default_rng(0)).images


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbs_as_the_method_does(name: str) -> None:
    kind = PERTURBATIONS[name]
    k = None if kind.legal_k(SIZE) is None else (4 if kind.blocks else 3)
    sigma, key = (25.0 if kind.noisy else 0.0), (SECRET if kind.keyed else None)
    found = privpipe.perturb(IMAGES[:3], name, k=k, sigma=sigma, key=key)
    expected = kind(SIZE, k or 1, "dataset", sigma, KeyStream(SECRET)).apply(IMAGES[:3])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(privpipe.perturb(IMAGES[0], name, k=k, sigma=sigma, key=key), expected[0])


def test_attacks_with_what_is_known() -> None:
    perturbed = privpipe.perturb(IMAGES, "block_scramble", k=4, key=SECRET)
    records = privpipe.attack(perturbed, "block_scramble", k=4, pairs=(IMAGES[:30], perturbed[:30]))
    assert [(record.level, record.attack) for record in records] == [
        ("L0", "as_is"),
        ("L0", "pixel_correlation"),
        ("L2", "known_plaintext"),
    ]
    last = records[-1]
    truth = PERTURBATIONS["block_scramble"](SIZE, 4, stream=KeyStream(SECRET)).dataset_key
    assert last.key is not None and truth is not None and (last.key == truth).mean() > 0.99
    assert last.images is not None and last.images.shape == (100, SIZE, SIZE, 3) and last.images.dtype == np.float32
    assert np.abs(last.images - IMAGES[:100]).mean() < 1
    public = privpipe.attack(perturbed[:50], "block_scramble", k=4, public=IMAGES[300:], targets=perturbed[:7])
    assert {record.level for record in public} == {"L0", "L1"}
    assert all(record.images is not None and len(record.images) == 7 for record in public)


def test_a_key_stream_will_do_and_the_scope_counts() -> None:
    one, other = (
        privpipe.perturb(IMAGES, "random_filter", k=3, scope="image", key=key) for key in (SECRET, KeyStream(SECRET))
    )
    np.testing.assert_array_equal(one, other)
    shared = privpipe.perturb(IMAGES, "random_filter", k=3, key=SECRET)
    assert shared.dtype == np.float16 and not np.array_equal(one, shared)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rot13"}, r"^the method must be one of block_mix, "),
        ({"k": None}, r"^block_scramble needs k; got none\. Use one of 1, 2, 4, 8, 16\.$"),
        ({"k": 3}, r"^perturb\.k must divide data\.image_size=16 for perturb\.method=block_scramble; got 3\. Use one"),
        ({"scope": "all"}, r"^scope must be one of dataset, image; got 'all'\.$"),
        ({"method": "gaussian_noise", "k": None}, r"^perturb\.sigma must be over 0 for perturb\.method=gaussian_noise"),
        ({"key": None}, r"^block_scramble needs a key and got none\."),
        ({"key": b"short"}, r"^a key is 32 bytes; got 5\."),
        (
            {"images": IMAGES / 255},
            r"^images must be uint8 \(N, H, W, C\) or \(H, W, C\), square; got float64 \(400, 16",
        ),
        ({"images": IMAGES[:, :8]}, r"square; got uint8 \(400, 8, 16, 3\)\. Crop or convert them\.$"),
    ],
)
def test_refuses_what_cannot_be_perturbed(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"images": IMAGES, "method": "block_scramble", "k": 4, "key": SECRET} | changes
    with pytest.raises(PrivpipeError, match=message):
        privpipe.perturb(given.pop("images"), given.pop("method"), **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbed": IMAGES.astype(np.float16)}, r"^perturbed must be uint8 \(N, H, W, C\), .* got float16"),
        ({"targets": IMAGES[:2, :8, :8]}, r"^targets must be uint8 .* got uint8 \(2, 8, 8, 3\)\. Pass what privpipe"),
        ({"public": IMAGES[:9] / 255}, r"^public must be uint8 \(M, 16, 16, 3\); got float64 \(9, 16, 16, 3\)\."),
        ({"pairs": (IMAGES[:9], IMAGES[:9] / 255)}, r"^the second of pairs must be uint8"),
        ({"pairs": (IMAGES[:9, ..., :1], IMAGES[:9])}, r"^the first of pairs must be uint8"),
        ({"k": 5}, r"^perturb\.k must divide"),
    ],
)
def test_refuses_what_cannot_be_attacked(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"perturbed": IMAGES, "k": 4} | changes
    with pytest.raises(PrivpipeError, match=message):
        privpipe.attack(given.pop("perturbed"), "block_scramble", **given)


def test_importing_it_costs_nothing_before_the_first_call() -> None:
    code = (
        "import sys, privpipe, privpipe.cli.main\n"
        "assert not {'numpy', 'cv2', 'torch', 'scipy', 'importlib.metadata'} & set(sys.modules)\n"
        "from privpipe.perturb import METHODS\n"
        "assert 'privpipe.perturb.block_mix' not in sys.modules and callable(privpipe.perturb)\n"
        "assert privpipe.perturb.METHODS is METHODS and len(METHODS) and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'perturbed'"):
        # That there is none is what is tested.
        privpipe.perturbed  # type: ignore[attr-defined]  # noqa: B018
