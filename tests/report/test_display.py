import numpy as np

from privpipe.report.display import displayable


def test_an_image_within_its_range_is_shown_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(displayable(image, (0.0, 255.0)), image)
    assert np.array_equal(displayable((image / 255).astype(np.float32), (0.0, 1.0)), image)


def test_an_image_beyond_its_range_is_stretched_to_its_own() -> None:
    values = np.linspace(-3, 5, 12, dtype=np.float16).reshape(2, 2, 3)
    shown = displayable(values, (0.0, 1.0))
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.all(np.diff(shown.ravel().astype(int)) > 0)


def test_a_grey_image_is_shown_in_three_equal_colours() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    assert np.array_equal(displayable(grey, (0.0, 255.0)), np.repeat(grey, 3, axis=2))
