"""The key stream against hashlib, the struct module and statistics, none of which it uses itself."""

import hashlib
import itertools
import math
import struct
from statistics import NormalDist

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privpipe.errors import PrivpipeError
from privpipe.perturb import Copies, KeyStream
from privpipe.perturb.keystream import (
    NOISE_END,
    NOISE_GAP,
    NORMAL_END,
    SHORT,
    fine_normal,
    half_quantiles,
    looked_up,
    noise,
    normal,
    order,
    quantiles,
    rounded_quantiles,
)

SECRET = bytes(range(32))
STREAM = KeyStream(SECRET, ("block_scramble", 4, "dataset"))
ENCODED = b'["shake256-aes256ctr-content/2","block_scramble",4,"dataset"]'
TABLE = "dfdb399543b1ac6e4d1d912ee78c6c4a887fba09462a409b98081dfbc7543be3"  # SHA-256 of `quantiles`
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 1), np.uint8)
EQUAL = IMAGES[[0, 1, 0, 0, 1]]
LABELS = st.lists(st.text(max_size=4) | st.integers(), max_size=4).map(tuple)


def expected_bytes(count: int) -> bytes:
    return hashlib.shake_256(SECRET + ENCODED).digest(count)


def test_bytes_are_shake256_of_secret_and_label() -> None:
    assert STREAM.bytes(1000) == expected_bytes(1000)


def test_a_child_is_the_stream_of_the_longer_label() -> None:
    assert KeyStream(SECRET).child("block_scramble").child(4, "dataset") == STREAM


def test_labels_that_look_alike_give_different_bytes() -> None:
    labels = [
        *[("a", 1), ("a", "1"), ("a1",), ("a", 1, ""), ("a", "", 1), ("a",), (), ("",), ("", "")],
        *[("a", "b"), ("ab",), ("a,b",), ('a","b',), ("a\\",), ('a"',), (1, 1), (11,), (-11,), ("é",), ("e\u0301",)],
    ]
    assert len({KeyStream(SECRET, label).bytes(32) for label in labels}) == len(labels)


@given(LABELS, LABELS)
def test_two_streams_agree_only_if_their_labels_do(one: tuple[str | int, ...], two: tuple[str | int, ...]) -> None:
    same = KeyStream(SECRET, one).bytes(32) == KeyStream(SECRET, two).bytes(32)
    assert same == (one == two)


def test_another_secret_gives_other_bytes() -> None:
    flipped = bytes([SECRET[0] ^ 1]) + SECRET[1:]
    assert KeyStream(flipped, STREAM.label).bytes(32) != STREAM.bytes(32)


def test_a_longer_request_begins_with_a_shorter_one() -> None:
    assert STREAM.bytes(500)[:77] == STREAM.bytes(77)


def aes(key: bytes, block: bytes) -> bytes:
    """One block, or several by themselves."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def ghash(key: bytes, message: bytes) -> bytes:
    """GMAC (NIST SP 800-38D) with a nonce of 12 zero bytes, by schoolbook multiplication in GF(2^128)."""
    h = int.from_bytes(aes(key, bytes(16)), "big")
    padded = message + bytes(-len(message) % 16) + (8 * len(message)).to_bytes(8, "big") + bytes(8)
    total = 0
    for i in range(0, len(padded), 16):
        x, product, shifted = total ^ int.from_bytes(padded[i : i + 16], "big"), 0, h
        for bit in range(127, -1, -1):
            product ^= shifted if x >> bit & 1 else 0
            shifted = shifted >> 1 ^ (0xE1 << 120 if shifted & 1 else 0)
        total = product
    return xor(total.to_bytes(16, "big"), aes(key, bytes(12) + b"\0\0\0\1"))


def xor(one: bytes, two: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, two, strict=True))


def counted(key: bytes, name: bytes, size: int) -> bytes:
    """AES of each counter block by itself."""
    return b"".join(aes(key, name + i.to_bytes(4, "big")) for i in range(-(-size // 16)))[:size]


def expected_own(image: np.ndarray, number: int, size: int) -> bytes:
    """As the class says, step by step."""
    label = ENCODED[:-1] + b',"own",%d,%d,%d,"%%s"]' % image.shape
    hashing, naming, streaming = (
        hashlib.shake_256(SECRET + label % purpose).digest(32) for purpose in (b"hash", b"name", b"stream")
    )
    name = aes(naming, xor(aes(naming, ghash(hashing, image.tobytes())), number.to_bytes(16, "big")))
    return counted(streaming, name[:12], size)


@pytest.mark.parametrize("size", [1, 16, 75, SHORT, SHORT + 1, 3000])
def test_own_streams_are_as_documented(size: int) -> None:
    drawn = STREAM.own(IMAGES.shape[1:], size, Copies()).draw(EQUAL)
    assert drawn.dtype == np.uint8 and drawn.shape == (5, size) and drawn.flags.c_contiguous
    for row, place, number in zip(drawn, [0, 1, 0, 0, 1], [0, 0, 1, 2, 1], strict=True):
        assert row.tobytes() == expected_own(IMAGES[place], number, size)


@pytest.mark.parametrize("size", [1, 16, 75, 3000])
def test_the_shared_stream_is_aes_in_counter_mode(size: int) -> None:
    key = hashlib.shake_256(SECRET + ENCODED[:-1] + b',"shared",%d]' % size).digest(32)
    drawn = STREAM.shared(size)
    assert drawn.shape == (1, size) and drawn.dtype == np.uint8
    assert drawn.tobytes() == counted(key, bytes(12), size)


def test_own_streams_do_not_depend_on_how_the_images_lie_in_memory() -> None:
    turned = IMAGES.transpose(0, 2, 1, 3)
    drawn = [STREAM.own((2, 3, 1), 40, Copies()).draw(images) for images in (turned, turned.copy())]
    np.testing.assert_array_equal(*drawn)


def test_no_own_streams() -> None:
    for count, size in [(0, 5), (0, 5000), (2, 0)]:
        assert STREAM.own((3, 2, 1), size, Copies()).draw(IMAGES[:count]).shape == (count, size)


def test_images_of_the_same_bytes_and_another_shape_have_other_streams() -> None:
    shapes = [(3, 2, 1), (2, 3, 1), (1, 2, 3), (6, 1, 1)]
    drawn = {STREAM.own(shape, 32, Copies()).draw(IMAGES[:1].reshape(1, *shape)).tobytes() for shape in shapes}
    assert len(drawn) == len(shapes)


def test_one_changed_bit_changes_half_of_the_stream() -> None:
    changed = IMAGES[:1].copy()
    changed[0, 2, 1, 0] ^= 1
    one, two = (STREAM.own((3, 2, 1), 4000, Copies()).draw(images) for images in (IMAGES[:1], changed))
    assert np.unpackbits(one ^ two).mean() == pytest.approx(0.5, abs=4 * 0.5 / 32_000**0.5)


def test_copies_are_counted_over_calls_and_go_on_in_a_copy() -> None:
    copies = Copies()
    own = STREAM.own(IMAGES.shape[1:], 32, copies)
    first, then = own.draw(EQUAL), own.draw(EQUAL)
    assert len({row.tobytes() for row in (*first, *then)}) == 10
    skipped = Copies()
    STREAM.own(IMAGES.shape[1:], 0, skipped).skip(EQUAL)
    for again in (skipped.copy(), skipped):
        np.testing.assert_array_equal(STREAM.own(IMAGES.shape[1:], 32, again).draw(EQUAL), then)


def random_bytes(size: int) -> np.ndarray:
    return np.frombuffer(STREAM.bytes(size), np.uint8)


def permutations(rows: int, n: int) -> np.ndarray:
    return order(random_bytes(8 * rows * n).reshape(rows, 8 * n))


def test_permutations_order_little_endian_64_bit_numbers() -> None:
    rows, n = 5, 16
    numbers = struct.unpack(f"<{rows * n}Q", expected_bytes(8 * rows * n))
    expected = [sorted(range(n), key=lambda j, row=row: numbers[row * n + j]) for row in range(rows)]
    drawn = permutations(rows, n)
    assert drawn.tolist() == expected
    assert drawn.dtype == np.int32


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (7, 1), (1, 64), (100, 16), (0, 4)])
def test_permutations_are_permutations(rows: int, n: int) -> None:
    drawn = permutations(rows, n)
    assert drawn.shape == (rows, n)
    assert all(sorted(row) == list(range(n)) for row in drawn.tolist())


@pytest.mark.parametrize("n", [3, 4])
def test_permutations_are_uniform(n: int) -> None:
    drawn = [tuple(row) for row in permutations(12_000, n).tolist()]
    counts = [drawn.count(p) for p in itertools.permutations(range(n))]
    assert stats.chisquare(counts).pvalue > 0.001


def test_consecutive_permutations_are_independent() -> None:
    drawn = [tuple(row) for row in permutations(24_000, 3).tolist()]
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    cells = itertools.product(itertools.permutations(range(3)), repeat=2)
    assert stats.chisquare([pairs.count(cell) for cell in cells]).pvalue > 0.001


def test_order_sorts_unsigned_numbers_along_the_last_axis() -> None:
    keys = np.array([[[2**64 - 1, 0, 2**63]], [[5, 2**63 + 1, 7]]], np.uint64)
    assert order(keys).tolist() == [[[1, 2, 0]], [[0, 2, 1]]]


def test_normal_inverts_the_distribution_function() -> None:
    numbers = struct.unpack("<24I", expected_bytes(96))
    expected = [NormalDist().inv_cdf((number + 0.5) / 2**32) for number in numbers]
    np.testing.assert_allclose(normal(random_bytes(96).reshape(2, 48)).ravel(), expected, rtol=1e-9)


def test_normal_passes_kolmogorov_smirnov() -> None:
    assert stats.kstest(normal(random_bytes(200_000)), "norm").pvalue > 0.001


def test_normal_has_the_moments_of_the_normal_distribution() -> None:
    n = 50_000
    values = normal(random_bytes(4 * n))
    # Standard deviations of the sample moments: sqrt((E x^2p - (E x^p)^2) / n), with E x^p = (p - 1)!! for even p.
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert np.mean(values**power) == pytest.approx(mean, abs=4 * math.sqrt(variance / n)), power


@pytest.mark.parametrize(("byte", "sign"), [(b"\x00", -1), (b"\xff", 1)])
def test_the_ends_of_the_normal_are_finite(byte: bytes, sign: int) -> None:
    end = normal(np.frombuffer(4 * byte, np.uint8)).item()
    assert end == pytest.approx(sign * NormalDist().inv_cdf(1 - 2**-33), rel=1e-6)
    assert NORMAL_END - 0.02 < abs(end) < NORMAL_END


def test_the_fine_normal_inverts_the_distribution_function_of_numbers_with_a_sign() -> None:
    numbers = struct.unpack("<12Q", expected_bytes(96))
    expected = [(-1) ** (one & 1) * NormalDist().inv_cdf(((one >> 1) + 0.5) / 2**64) for one in numbers]
    np.testing.assert_allclose(fine_normal(random_bytes(96).reshape(2, 48)).ravel(), expected, rtol=1e-9)
    assert stats.kstest(fine_normal(random_bytes(400_000)), "norm").pvalue > 0.001
    ends = fine_normal(np.array([0, 1, 2**64 - 1], "<u8").view(np.uint8))
    assert ends == pytest.approx([-9.155, 9.155, 0], abs=0.001)


def test_noise_is_two_quantiles_of_numbers_of_the_two_halves() -> None:
    numbers = struct.unpack("<24H", random_bytes(48).tobytes())
    of = [NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)]
    scale = 7 / math.sqrt(2 * math.fsum(x * x for x in of) / 65536)
    found = noise(random_bytes(48).reshape(2, 24), 7)
    assert found.dtype == np.float32 and found.shape == (2, 6)
    for row, place in np.ndindex(2, 6):
        one, two = numbers[12 * row + place], numbers[12 * row + 6 + place]
        assert found[row, place] == pytest.approx((of[one] + of[two]) * scale, abs=1e-5)


def test_noise_is_the_same_for_single_rows() -> None:
    stream = random_bytes(9 * 300).reshape(9, 300)
    whole = noise(stream, 0.1)
    for row in range(9):
        np.testing.assert_array_equal(noise(stream[row : row + 1], 0.1), whole[row : row + 1])


def test_values_are_looked_up_by_little_endian_numbers() -> None:
    table = np.arange(65536, dtype=np.float32)
    numbers = looked_up(random_bytes(48).reshape(2, 24), table)
    np.testing.assert_array_equal(numbers.ravel(), struct.unpack("<24H", random_bytes(48).tobytes()))


def test_own_streams_are_uniform() -> None:
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    numbers = STREAM.own((1, 1, 1), 100_000, Copies()).draw(images).view("<u2").ravel()
    counts = np.bincount(numbers >> 6, minlength=1024)
    assert stats.chisquare(counts).pvalue > 0.001


def test_rounded_quantiles_are_quantiles_of_the_normal_law_on_a_grid() -> None:
    table = rounded_quantiles(0.25, 2**-11)
    np.testing.assert_array_equal(table * 2**11, np.rint(table * 2**11))
    expected = stats.norm.ppf((np.arange(65536) + 0.5) / 65536) / 4
    np.testing.assert_allclose(table, expected, atol=2**-12, rtol=1e-4)
    # Every value of it: today's matrices must be tomorrow's, on every machine.
    assert hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()[:16] == "2967b8c625f8e690"


def test_nothing_is_made_of_nothing() -> None:
    assert noise(np.empty((0, 20), np.uint8), 1).shape == (0, 5)
    assert noise(np.empty((2, 0), np.uint8), 1).shape == (2, 0)
    assert looked_up(np.empty((0, 6), np.uint8), quantiles()).shape == (0, 3)


def test_the_table_is_frozen() -> None:
    # Every float32 of it: the noise of today's keys must be the noise of tomorrow's, on every machine.
    assert hashlib.sha256(quantiles().astype("<f4").tobytes()).hexdigest() == TABLE


def law(t: float) -> float:
    """P(x > t) of a value of a field, exactly: the fraction of the 2^32 pairs of table entries whose sum is above."""
    table = quantiles().astype(float)
    return float((len(table) - np.searchsorted(table, t - table, side="right")).sum() / 2**32)


def test_the_exact_law_of_a_field_has_mean_0_and_variance_1() -> None:
    table = quantiles().astype(float)
    np.testing.assert_array_equal(table, -table[::-1])
    assert np.all(np.diff(table) > 0)
    assert 2 * (table**2).mean() == pytest.approx(1, abs=1e-8)
    kurtosis = 2 * ((table**4).mean() - 3 * (table**2).mean() ** 2)
    assert kurtosis == pytest.approx(-0.0004, abs=5e-5)


def test_the_exact_law_of_a_field_is_near_the_normal_one_up_to_5_sigma() -> None:
    for t in np.linspace(-3, 3, 25):
        assert law(t) == pytest.approx(stats.norm.sf(t), abs=2e-5)
    for t, ratio in [(3, 0.9995), (4, 0.984), (5, 0.833)]:  # as the docstring says
        assert law(t) / stats.norm.sf(t) == pytest.approx(ratio, abs=0.0005)
    assert 2 * quantiles()[-1] == pytest.approx(6.12, abs=0.005)
    assert law(6.12) == 0 < law(6.1)
    assert 2 * half_quantiles(0.1)[-1] == pytest.approx(0.612, abs=0.0005)
    assert 2 * quantiles()[-1] < NOISE_END
    assert law(0.9999 * NOISE_GAP) == law(0) and law(1.01 * NOISE_GAP) < law(0)  # as far from 0 as it says


def test_noise_passes_kolmogorov_smirnov_and_has_the_moments() -> None:
    values = noise(random_bytes(4_000_000).reshape(20, -1), 1.0).ravel().astype(float)
    assert stats.kstest(values, "norm").pvalue > 0.001
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert np.mean(values**power) == pytest.approx(mean, abs=4 * math.sqrt(variance / len(values))), power
    for lag in (1, 2, 3, 4, 50_000):
        assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < 4 / math.sqrt(len(values))


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_secret_of_the_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(PrivpipeError, match=rf"^a key is 32 bytes; got {length}\. Make one with the keygen stage\.$"):
        KeyStream(bytes(length))


@pytest.mark.parametrize("show", [repr, str, lambda stream: f"{stream}", lambda stream: f"{[stream]}"])
def test_the_secret_is_not_shown(show) -> None:
    stream = KeyStream(b"0123456789abcdefSECRETSECRETSECR", ("purpose", 7))
    shown = show(stream)
    assert "purpose" in shown and "7" in shown
    assert "SECRET" not in shown and stream.secret.hex() not in shown
