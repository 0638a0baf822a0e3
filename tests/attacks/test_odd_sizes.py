"""Images whose side is no multiple of the window's, and grey ones, are restored about as well as if handled whole."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks import windows as window_module
from privpipe.attacks.base import AdversaryView
from privpipe.attacks.correlations import attack
from privpipe.attacks.gradient_inversion import GradientInversion, _Mirrored
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.windows import reach_of, side_of, unit_of, windows
from privpipe.data.synthetic import draw
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import Perturbation

KEY = KeyStream(bytes(range(32)))
TARGETS = 6
Pixels = NDArray[np.uint8]


def drawn(count: int, size: int, channels: int) -> Pixels:
    """Images of any size, cut from those that can be drawn."""
    images = draw(count, -(-size // 8) * 8, rng=np.random.default_rng(0)).images
    return np.ascontiguousarray(images[:, :size, :size, :channels])


def error(images: NDArray[np.floating], originals: Pixels) -> float:
    return float(((images.astype(np.float64) - originals) ** 2).mean())


@pytest.mark.parametrize(
    ("name", "k", "size"), [("gaussian_blur", 7, 45), ("random_filter", 5, 33), ("pixelate", 5, 45)]
)
@pytest.mark.parametrize("overlap", [False, True])
def test_every_pixel_has_one_window_to_ask(name: str, k: int, size: int, overlap: bool) -> None:
    method = PERTURBATIONS[name](size, k, "image", stream=KEY)
    asked = np.zeros((size, size), int)
    for window in windows(size, side_of(method), unit_of(method), overlap):
        asked[window.core] += 1
        assert window.top % unit_of(method) == window.left % unit_of(method) == 0
        assert window.complete(reach_of(method)).any()
    assert (asked == 1).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "k", "scope", "size"),
    [
        ("gaussian_blur", 7, "dataset", 45),
        ("random_filter", 3, "image", 41),
        ("random_filter", 3, "dataset", 41),
        ("pixelate", 5, "dataset", 45),
    ],
)
def test_restoration_in_windows_is_near_that_of_the_whole(
    name: str, k: int, scope: str, size: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = drawn(400, size, channels)
    originals, public = images[:TARGETS], images[TARGETS:]
    method = PERTURBATIONS[name](size, k, scope, stream=KEY)
    perturbed = method.apply(originals)
    key = None if not method.keyed else method.dataset_key if scope == "dataset" else method.image_keys(originals)
    assert side_of(method) < size
    found = restore(perturbed, method, key, Prior.known(public, method, channels))
    assert found.shape == originals.shape
    monkeypatch.setattr(window_module, "WHOLE", size)
    assert side_of(method) == size
    whole = restore(perturbed, method, key, Prior.known(public, method, channels))
    assert error(found, originals) < 1.1 * error(whole, originals)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "k", "size"), [("gaussian_blur", 5, 45), ("pixelate", 5, 45), ("gaussian_blur", 5, 31)]
)
def test_descent_in_windows_gains_on_the_linear_estimate(name: str, k: int, size: int, channels: int) -> None:
    images = drawn(400, size, channels)
    originals, public = images[:TARGETS], images[TARGETS:]
    method: Perturbation = PERTURBATIONS[name](size, k)
    perturbed = method.apply(images[:100])
    view = AdversaryView(name, k, "dataset", 0.0, perturbed, perturbed[:TARGETS], public)
    found = GradientInversion().run(view).images
    linear = restore(view.targets, method, None, Prior.known(public, method, channels))
    assert found is not None and error(found, originals) < error(linear, originals)


@pytest.mark.parametrize("side", [6, 7])
def test_a_product_by_halves_is_the_product(side: int) -> None:
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(2, side**2, side**2))
    mirrored = np.arange(side**2).reshape(side, side)[:, ::-1].ravel()
    matrices = matrices + matrices.swapaxes(1, 2)
    matrices = matrices + matrices[:, mirrored][:, :, mirrored]
    stack = rng.normal(size=(2, 3, 4, side, side))
    expected = (stack.reshape(2, 12, -1) @ matrices).reshape(stack.shape)
    found = _Mirrored.of(matrices, side).times(stack.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_permutations_are_found_where_windows_overlap(channels: int) -> None:
    size, k = 40, 4
    images = drawn(900, size, channels)
    method = PERTURBATIONS["block_scramble"](size, k, stream=KEY)
    found = attack(method.apply(images[:450]), k, images[450:])
    assert found.permutations.shape == (100, 16)
    assert (found.permutations == method.dataset_key).mean() > (0.9 if channels == 3 else 0.7)
