"""What holds for every transformation, those to come included, and the tools that they share."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import KEY, OTHER_KEY, method, sample_images

from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, Copies, Perturbation
from privpipe.perturb.base import (
    CACHE_BYTES,
    cached,
    from_blocks,
    odd_sizes,
    one_by_one,
    side_by_side,
    to_blocks,
    to_unit_float16,
)
from privpipe.perturb.block_pixel_shuffle import BlockPixelShuffle
from privpipe.perturb.keyed_values import KeyedValues
from privpipe.perturb.neuracrypt import Neuracrypt
from privpipe.perturb.values import divisors

SIZE = 8
IMAGES = sample_images(9, SIZE)
SAME = np.repeat(IMAGES[:1], 4, axis=0)  # one image four times


def some_k(name: str, size: int = SIZE) -> int:
    """A legal k that changes something."""
    legal = PERTURBATIONS[name].legal_k(size)
    return 1 if legal is None else legal[1]


def case(name: str, scope: str, **options) -> Perturbation:
    return method(name, SIZE, some_k(name), scope, **options)


every_method = pytest.mark.parametrize("name", PERTURBATIONS)
every_keyed = pytest.mark.parametrize("name", [name for name in PERTURBATIONS if PERTURBATIONS[name].keyed])
every_keyless = pytest.mark.parametrize("name", [name for name in PERTURBATIONS if not PERTURBATIONS[name].keyed])
UNDONE = [name for name in PERTURBATIONS if PERTURBATIONS[name].undone_by_key]
every_undone = pytest.mark.parametrize("name", UNDONE)
every_keyed_inverse = pytest.mark.parametrize("name", [name for name in UNDONE if PERTURBATIONS[name].keyed])
every_lossy = pytest.mark.parametrize("name", [name for name in PERTURBATIONS if not PERTURBATIONS[name].undone_by_key])
SCOPES = ["dataset", "image"]
both_scopes = pytest.mark.parametrize("scope", SCOPES)


def keys_of(perturbation: Perturbation, images: NDArray[np.uint8] = IMAGES) -> NDArray | None:
    """What `invert` takes."""
    return perturbation.dataset_key if perturbation.scope == "dataset" else perturbation.image_keys(images)


def differ(one: NDArray, two: NDArray) -> bool:
    return not np.array_equal(one, two)


def test_the_registry_is_by_name() -> None:
    assert {name: cls.name for name, cls in PERTURBATIONS.items()} == {name: name for name in PERTURBATIONS}


@both_scopes
@every_method
def test_the_output_is_as_documented(name: str, scope: str) -> None:
    perturbation = case(name, scope)
    out = perturbation.apply(IMAGES)
    assert out.shape == (len(IMAGES), *perturbation.output_shape(3))
    assert perturbation.features == (perturbation.output_shape(3) != IMAGES.shape[1:])
    assert out.dtype == perturbation.dtype == (np.uint8 if perturbation.exact else np.float16)
    assert perturbation.image_range == ((0.0, 255.0) if perturbation.exact else (0.0, 1.0))


@both_scopes
@every_method
def test_how_images_lie_in_memory_does_not_matter(name: str, scope: str) -> None:
    perturbation = case(name, scope)
    expected = perturbation.apply(IMAGES)
    planes = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for images in (planes, IMAGES[..., [0, 1, 2]], np.repeat(IMAGES, 2, axis=0)[::2], IMAGES[:, ::-1].copy()[:, ::-1]):
        assert np.array_equal(images, IMAGES)
        np.testing.assert_array_equal(perturbation.apply(images), expected)


@both_scopes
@every_method
def test_the_input_is_not_modified(name: str, scope: str) -> None:
    perturbation, images = case(name, scope), IMAGES.copy()
    perturbed = perturbation.apply(images)
    kept = perturbed.copy()
    np.testing.assert_array_equal(images, IMAGES)
    if perturbation.undone_by_key:
        perturbation.invert(perturbed, keys_of(perturbation))
        np.testing.assert_array_equal(perturbed, kept)


@both_scopes
@every_method
@settings(max_examples=15, deadline=None)
@given(places=st.permutations(range(len(IMAGES))), count=st.integers(0, len(IMAGES)))
def test_results_depend_neither_on_chunks_nor_on_the_order(
    name: str, scope: str, places: list[int], count: int
) -> None:
    perturbation, rows = case(name, scope), places[:count]
    np.testing.assert_array_equal(perturbation.apply(IMAGES[rows]), perturbation.apply(IMAGES)[rows])


@both_scopes
@every_method
@settings(max_examples=15, deadline=None)
@given(first=st.integers(0, 12), second=st.integers(0, 12))
def test_equal_images_do_not_depend_on_chunks_either(name: str, scope: str, first: int, second: int) -> None:
    images, perturbation = np.concatenate([SAME, IMAGES[:5], SAME[:3]]), case(name, scope)
    copies, ends = Copies(), sorted([first, second])
    parts = [perturbation.apply(part, copies) for part in np.split(images, ends)]
    np.testing.assert_array_equal(np.concatenate(parts), perturbation.apply(images))


@both_scopes
@every_method
@pytest.mark.parametrize("channels", [1, 3])
def test_results_do_not_depend_on_chunks_of_more_than_512_channels(name: str, scope: str, channels: int) -> None:
    images = sample_images(530 // channels, SIZE, channels)
    perturbation = case(name, scope)
    whole = perturbation.apply(images)
    for first, stop in [(1, len(images)), (len(images) - 1, len(images)), (3, 3 + 128 // channels)]:
        np.testing.assert_array_equal(perturbation.apply(images[first:stop]), whole[first:stop])


@both_scopes
@every_method
@pytest.mark.parametrize("images_at_once", [1, 2, 5])
def test_results_do_not_depend_on_the_size_of_the_cache(
    name: str, scope: str, images_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturbation = case(name, scope)
    keys, perturbed = keys_of(perturbation), perturbation.apply(IMAGES)
    back = perturbation.invert(perturbed, keys) if name in UNDONE else None
    monkeypatch.setattr("privpipe.perturb.base.CACHE_BYTES", images_at_once * 4 * IMAGES[0].size)
    np.testing.assert_array_equal(perturbation.apply(IMAGES), perturbed)
    if keys is not None:
        np.testing.assert_array_equal(keys_of(perturbation), keys)
    if back is not None:
        np.testing.assert_array_equal(perturbation.invert(perturbed, keys), back)


@every_keyed
@pytest.mark.parametrize("size", [5, 8])
def test_the_keys_of_images_are_the_same_wherever_one_begins(name: str, size: int) -> None:
    # Fields of 5x5x3 values do not fill whole blocks of the cipher.
    perturbation = method(name, size, 1 if size == 5 else some_k(name), "image")
    images = sample_images(7, size)
    keys = perturbation.image_keys(images)
    assert keys is not None
    for start, stop in [(5, 7), (0, 1), (6, 7), (3, 3), (1, 7)]:
        np.testing.assert_array_equal(perturbation.image_keys(images[start:stop]), keys[start:stop])


@both_scopes
@every_method
@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels_is_kept(name: str, scope: str, channels: int) -> None:
    perturbation, images = case(name, scope), sample_images(3, SIZE, channels)
    out = perturbation.apply(images)
    assert out.shape == (len(images), *perturbation.output_shape(channels))
    if perturbation.undone_by_key:
        keys = keys_of(perturbation, images)
        # Whose shared key is given for three colours.
        three = perturbation.noisy or isinstance(perturbation, KeyedValues | BlockPixelShuffle)
        if not (three and scope == "dataset"):
            assert perturbation.invert(out, keys).shape == images.shape


@every_lossy
def test_a_method_without_inverse_says_so(name: str) -> None:
    message = rf"^{name} is not undone by its key\. Methods that are set `undone_by_key`\.$"
    with pytest.raises(PrivpipeError, match=message):
        case(name, "dataset").invert(IMAGES)


@both_scopes
@every_undone
def test_the_inverse_undoes(name: str, scope: str) -> None:
    perturbation = case(name, scope)
    back = perturbation.invert(perturbation.apply(IMAGES), keys_of(perturbation))
    # float16 rounds values under 2 by at most 2^-11 (of a range of 1); an inverse that mixes them adds some errors.
    # Noisy ones are multiples of 2^-12.
    mixes = 2 if name == "disguised_rmt" else 1
    rounding = mixes * 2**-11 + 2**-13 * perturbation.noisy
    np.testing.assert_allclose(back, IMAGES, rtol=0, atol=0 if perturbation.exact else 255 * rounding + 1e-3)


@both_scopes
@every_keyed_inverse
def test_undoing_needs_the_key_and_for_scope_image_that_of_the_image(name: str, scope: str) -> None:
    perturbation = case(name, scope)
    perturbed = perturbation.apply(IMAGES)
    for keys, undone in [
        (keys_of(case(name, scope, key=OTHER_KEY)), False),
        (keys_of(perturbation, np.roll(IMAGES, 1, axis=0)), scope == "dataset"),
        (keys_of(perturbation, IMAGES ^ 1), scope == "dataset"),
    ]:
        back = perturbation.invert(perturbed, keys)
        assert (np.abs(back.astype(float) - IMAGES).max() < 1) == undone


@every_keyed_inverse
def test_undoing_without_keys_says_what_to_pass(name: str) -> None:
    with pytest.raises(
        PrivpipeError, match=rf"^{name} is undone with its \w+; got none\. Pass dataset_key or image_keys"
    ):
        case(name, "image").invert(IMAGES)


@both_scopes
@every_keyed
def test_the_key_decides(name: str, scope: str) -> None:
    first = case(name, scope).apply(IMAGES)
    np.testing.assert_array_equal(case(name, scope).apply(IMAGES), first)
    assert differ(case(name, scope, key=OTHER_KEY).apply(IMAGES), first)


@every_keyed
def test_scope_image_differs_among_equal_images_also_in_another_chunk(name: str) -> None:
    perturbation, copies = case(name, "image"), Copies()
    outs = [*perturbation.apply(SAME, copies), *perturbation.apply(SAME, copies)]
    assert len({out.tobytes() for out in outs}) == 8
    assert differ(perturbation.apply(SAME), case(name, "dataset").apply(SAME))


@every_keyed
def test_scope_image_gives_an_image_the_same_bytes_in_every_release(name: str) -> None:
    perturbation = case(name, "image")
    first = perturbation.apply(IMAGES[1:])
    np.testing.assert_array_equal(perturbation.apply(IMAGES)[1:], first)  # the set grew by one
    for image, out in zip(IMAGES[1:], first, strict=True):
        np.testing.assert_array_equal(perturbation.apply(image[None])[0], out)  # a query


@every_keyed
def test_images_that_were_skipped_count(name: str) -> None:
    perturbation, counted, skipped = case(name, "image"), Copies(), Copies()
    perturbation.apply(SAME[:2], counted)
    perturbation.skip(SAME[:2], skipped)
    kept = skipped.copy()
    expected = perturbation.image_keys(SAME[:1], counted)
    np.testing.assert_array_equal(perturbation.image_keys(SAME[:1], skipped), expected)
    np.testing.assert_array_equal(perturbation.image_keys(SAME[:1], kept), expected)
    assert differ(perturbation.image_keys(SAME[:1]), expected)


def bytes_drawn(perturbation: Perturbation, size: int = 64) -> bytes:
    """The first random bytes, of the first image where each has its own."""
    if perturbation.scope == "dataset":
        return perturbation.shared_bytes(size).tobytes()
    return perturbation.own_streams(IMAGES, size, None).draw(IMAGES[:1]).tobytes()


@both_scopes
@every_keyed
def test_other_settings_draw_independent_bytes(name: str, scope: str) -> None:
    legal = PERTURBATIONS[name].legal_k(48) or [1]
    drawn = [
        bytes_drawn(PERTURBATIONS[name](size, k, scope, sigma, KEY))
        for size in (8, 24, 48)
        for k in ([k for k in legal if k in (1, 3)])
        for sigma in ((25.0, 50.0, 25.000000000000004) if PERTURBATIONS[name].noisy else (25.0,))
    ]
    assert len(set(drawn)) == len(drawn)
    for one, two in itertools.combinations(drawn, 2):
        # 64 bytes of unrelated streams agree in 0.25 bytes on average.
        assert sum(a == b for a, b in zip(one, two, strict=True)) < 6


@both_scopes
@every_keyed
def test_settings_without_meaning_and_types_of_numbers_change_nothing(name: str, scope: str) -> None:
    perturbation = case(name, scope)
    expected = bytes_drawn(perturbation)
    assert bytes_drawn(replace(perturbation, sigma=int(perturbation.sigma))) == expected
    if not perturbation.noisy:
        assert bytes_drawn(replace(perturbation, sigma=3.0)) == expected
    if PERTURBATIONS[name].legal_k(SIZE) is None:
        assert bytes_drawn(replace(perturbation, k=7)) == expected


@every_keyed
def test_methods_and_scopes_draw_independent_bytes(name: str) -> None:
    others = [
        bytes_drawn(case(other, scope)) for other in PERTURBATIONS if PERTURBATIONS[other].keyed for scope in SCOPES
    ]
    assert len(set(others)) == len(others)


@every_keyed
def test_scope_dataset_is_the_same_for_all_images(name: str) -> None:
    perturbation = case(name, "dataset")
    outs = [*perturbation.apply(SAME), *perturbation.apply(np.concatenate([IMAGES[1:3], SAME]))[2:]]
    if isinstance(perturbation, Neuracrypt):  # the patches of each image are permuted anew
        assert len({out.tobytes() for out in outs}) > 1
        outs = [out[np.lexsort(out.T)] for out in (one.reshape(-1, one.shape[2]) for one in outs)]
    assert len({out.tobytes() for out in outs}) == 1


@both_scopes
@every_keyed
def test_a_keyed_method_without_a_key_says_so(name: str, scope: str) -> None:
    message = rf"^{name} needs a key and got none\. Pass the key that the keygen stage wrote\.$"
    with pytest.raises(PrivpipeError, match=message):
        case(name, scope, key=None).apply(IMAGES)


@every_keyless
def test_a_keyless_method_ignores_key_and_scope(name: str) -> None:
    first = case(name, "dataset", key=None).apply(IMAGES)
    for key in (KEY, OTHER_KEY):
        np.testing.assert_array_equal(case(name, "image", key=key).apply(IMAGES), first)


@every_method
def test_no_secret_in_the_repr(name: str) -> None:
    shown = repr(case(name, "image"))
    assert repr(KEY) in shown
    assert str(KEY.secret) not in shown and KEY.secret.hex() not in shown


@every_method
@pytest.mark.parametrize("size", [8, 12])
def test_every_legal_k_works_and_the_list_is_the_rule(name: str, size: int) -> None:
    legal = PERTURBATIONS[name].legal_k(size)
    if legal is not None:
        assert legal == [k for k in range(1, size + 1) if (size % k == 0 if PERTURBATIONS[name].blocks else k % 2 == 1)]
    images = sample_images(2, size)
    for k in legal or [1]:
        perturbation = method(name, size, k)
        assert perturbation.apply(images).shape == (2, *perturbation.output_shape(3))


def test_divisors_and_odd_sizes() -> None:
    assert divisors(48) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 48]
    assert divisors(1) == odd_sizes(1) == odd_sizes(2) == [1]
    assert odd_sizes(8) == [1, 3, 5, 7]


@pytest.mark.parametrize("channels", [1, 3, 4, 128])
@pytest.mark.parametrize("count", [0, 1, 171])
def test_side_by_side_has_every_channel_of_every_image_once(count: int, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 2, channels), np.uint8)
    out = np.zeros_like(images)
    for rows, sheet in side_by_side(images):
        assert sheet.shape[:2] == (3, 2) and sheet.shape[2] <= 128
        assert sheet.flags.c_contiguous
        for i, image in enumerate(images[rows]):
            np.testing.assert_array_equal(sheet.reshape(3, 2, channels, -1)[..., i], image)
        out[rows] = one_by_one(sheet, channels)
    np.testing.assert_array_equal(out, images)


def test_ranges_cover_all_rows_once_and_hold_one_image_at_least() -> None:
    for count, image_bytes, most in [(0, 5, None), (1, 1, None), (7, CACHE_BYTES // 3, None), (9, 1, 4), (3, 10**9, 2)]:
        ranges = list(cached(count, image_bytes, most))
        assert [row for rows in ranges for row in range(rows.start, rows.stop)] == list(range(count))
        sizes = [rows.stop - rows.start for rows in ranges]
        assert all(size == 1 or size * image_bytes <= CACHE_BYTES for size in sizes)
        assert most is None or all(size <= most for size in sizes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
def test_one_by_one_keeps_the_type(dtype: type) -> None:
    values = sample_images(4, 6).astype(dtype) - dtype(7)
    (rows, sheet), *none = side_by_side(values.view(np.int16) if dtype == np.float16 else values)
    assert rows == slice(0, 4) and not none
    back = one_by_one(sheet.view(dtype), 3)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_blocks_are_row_major(k: int) -> None:
    images = sample_images(2, 6)
    blocks = to_blocks(images, k)
    assert blocks.shape == (2, (6 // k) ** 2, k * k, 3)
    for y, x in np.ndindex(6, 6):
        block, pixel = y // k * (6 // k) + x // k, y % k * k + x % k
        np.testing.assert_array_equal(blocks[:, block, pixel], images[:, y, x])
    np.testing.assert_array_equal(from_blocks(blocks, 6, k), images)
    for other in (images[..., 1:], images[:, :, ::-1], images.swapaxes(1, 2), images[:0], images / 255):
        cut = to_blocks(other, k)
        np.testing.assert_array_equal(cut[:, 0, 0], other[:, 0, 0])
        np.testing.assert_array_equal(from_blocks(cut[:, ::-1], 6, k)[:, :k, :k], other[:, 6 - k :, 6 - k :])


def test_float16_keeps_what_it_can_hold() -> None:
    values = np.array([-65504, -1.5, 0, 2**-24, 65504], np.float32)
    out = to_unit_float16(values, "x")
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, values)


def test_float16_rounds_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 300_000, np.uint32).view(np.float32)  # of all sizes
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[1:] + halves[:-1]) / 2  # ties
    values = np.concatenate([bits[np.abs(bits) <= 65504], halves, between, -between, rng.normal(size=10_000)])
    values = values.astype(np.float32)
    np.testing.assert_array_equal(to_unit_float16(values, "x").view(np.uint16), values.astype(np.float16).view("u2"))
    for shape in [(0, 3), (2, 0, 4)]:
        assert to_unit_float16(np.empty(shape, np.float32), "x").shape == shape


@pytest.mark.parametrize("value", [65505, -65505, 1e30, np.inf, -np.inf, np.nan])
def test_float16_refuses_instead_of_clipping(value: float) -> None:
    message = r"^blend gave values that float16 cannot hold \(over 65504\)\. Use a smaller perturb\.k or sigma\.$"
    with pytest.raises(PrivpipeError, match=message):
        to_unit_float16(np.array([0, value], np.float32), "blend")
