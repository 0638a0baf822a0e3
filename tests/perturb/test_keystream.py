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
from privpipe.perturb import KeyStream
from privpipe.perturb.keystream import order, quantiles, rounded_quantiles

SECRET = bytes(range(32))
STREAM = KeyStream(SECRET, ("block_scramble", 4, "dataset"))
ENCODED = b'["shake256/1","block_scramble",4,"dataset"]'
TABLE = "dfdb399543b1ac6e4d1d912ee78c6c4a887fba09462a409b98081dfbc7543be3"  # SHA-256 of `quantiles`
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
    np.testing.assert_array_equal(STREAM.normal(50)[:7], STREAM.normal(7))
    np.testing.assert_array_equal(STREAM.permutations(9, 4)[:2], STREAM.permutations(2, 4))


def test_permutations_order_little_endian_64_bit_numbers() -> None:
    rows, n = 5, 16
    numbers = struct.unpack(f"<{rows * n}Q", expected_bytes(8 * rows * n))
    expected = [sorted(range(n), key=lambda j, row=row: numbers[row * n + j]) for row in range(rows)]
    drawn = STREAM.permutations(rows, n)
    assert drawn.tolist() == expected
    assert drawn.dtype == np.int32


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (7, 1), (1, 64), (100, 16), (0, 4)])
def test_permutations_are_permutations(rows: int, n: int) -> None:
    drawn = STREAM.permutations(rows, n)
    assert drawn.shape == (rows, n)
    assert all(sorted(row) == list(range(n)) for row in drawn.tolist())


@pytest.mark.parametrize("n", [3, 4])
def test_permutations_are_uniform(n: int) -> None:
    drawn = [tuple(row) for row in STREAM.permutations(12_000, n).tolist()]
    counts = [drawn.count(p) for p in itertools.permutations(range(n))]
    assert stats.chisquare(counts).pvalue > 0.001


def test_consecutive_permutations_are_independent() -> None:
    drawn = [tuple(row) for row in STREAM.permutations(24_000, 3).tolist()]
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    cells = itertools.product(itertools.permutations(range(3)), repeat=2)
    assert stats.chisquare([pairs.count(cell) for cell in cells]).pvalue > 0.001


def test_order_sorts_unsigned_numbers_along_the_last_axis() -> None:
    keys = np.array([[[2**64 - 1, 0, 2**63]], [[5, 2**63 + 1, 7]]], np.uint64)
    assert order(keys).tolist() == [[[1, 2, 0]], [[0, 2, 1]]]


def test_normal_inverts_the_distribution_function() -> None:
    numbers = struct.unpack("<24I", expected_bytes(96))
    expected = [NormalDist().inv_cdf((number + 0.5) / 2**32) for number in numbers]
    np.testing.assert_allclose(STREAM.normal(2, 3, 4).ravel(), expected, rtol=1e-9)


def test_normal_passes_kolmogorov_smirnov() -> None:
    assert stats.kstest(STREAM.normal(50_000), "norm").pvalue > 0.001


def test_normal_has_the_moments_of_the_normal_distribution() -> None:
    n = 50_000
    values = STREAM.normal(n)
    # Standard deviations of the sample moments: sqrt((E x^2p - (E x^p)^2) / n), with E x^p = (p - 1)!! for even p.
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert np.mean(values**power) == pytest.approx(mean, abs=4 * math.sqrt(variance / n)), power


@pytest.mark.parametrize(("byte", "sign"), [(b"\x00", -1), (b"\xff", 1)])
def test_the_ends_of_the_normal_are_finite(monkeypatch: pytest.MonkeyPatch, byte: bytes, sign: int) -> None:
    monkeypatch.setattr(KeyStream, "bytes", lambda self, count: byte * count)
    assert STREAM.normal(1).item() == pytest.approx(sign * NormalDist().inv_cdf(1 - 2**-33), rel=1e-6)


@pytest.mark.parametrize("label", [(), ("é", 'a"b', -3)])
def test_numbered_is_the_bytes_of_children(label: tuple[str | int, ...]) -> None:
    stream = KeyStream(SECRET, label)
    found = stream.numbered(9, 4, 50)
    assert found.dtype == np.uint8
    assert [row.tobytes() for row in found] == [stream.child(i).bytes(50) for i in range(9, 13)]
    assert stream.numbered(9, 0, 50).shape == (0, 50)


def expected_fields(start: int, count: int, size: int) -> list[list[float]]:
    """The counter of each block encrypted by itself, and the quantiles of Python's own normal distribution."""
    label = ENCODED[:-1] + b',"aes256ctr/1",%d]' % size
    key = hashlib.shake_256(SECRET + label).digest(32)
    encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    normal = [NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)]
    scale = math.sqrt(2 * math.fsum(x * x for x in normal) / 65536)
    blocks, fields = math.ceil(size / 4), []
    for i in range(start, start + count):
        stream = b"".join(encrypt((i * blocks + b).to_bytes(16, "big")) for b in range(blocks))
        numbers = struct.unpack_from(f"<{size}I", stream)
        fields.append([(normal[number % 65536] + normal[number // 65536]) / scale for number in numbers])
    return fields


@pytest.mark.parametrize(("start", "count", "size"), [(0, 2, 8), (7, 3, 5), (10**12, 1, 1), (0, 1, 48)])
def test_fields_are_two_quantiles_of_aes_in_counter_mode(start: int, count: int, size: int) -> None:
    found = STREAM.fields(start, count, size)
    assert found.dtype == np.float32 and found.shape == (count, size)
    np.testing.assert_allclose(found, expected_fields(start, count, size), atol=1e-6)


@pytest.mark.parametrize("size", [4, 75, 3072])
def test_a_field_is_the_same_wherever_one_begins(size: int) -> None:
    fields = STREAM.fields(0, 9, size)
    for start, count in [(0, 1), (5, 2), (8, 1), (2, 7), (4, 0)]:
        np.testing.assert_array_equal(STREAM.fields(start, count, size), fields[start : start + count])
    assert len(np.unique(fields)) > 0.99 * fields.size  # no field repeats another


@pytest.mark.parametrize("size", [1, 8, 75, 3072])
def test_halves_are_the_numbers_of_aes_in_counter_mode_wherever_one_begins(size: int) -> None:
    whole = STREAM.halves(0, 9, size)
    assert whole.dtype == np.uint16 and whole.shape == (9, size)
    blocks = -(-2 * size // 16)
    cipher = Cipher(algorithms.AES(STREAM.child("aes256ctr16/1", size).bytes(32)), modes.ECB()).encryptor()
    for row in (0, 1, 8):
        counters = b"".join(n.to_bytes(16, "big") for n in range(row * blocks, (row + 1) * blocks))
        expected = np.frombuffer(cipher.update(counters)[: 2 * size], "<u2")
        np.testing.assert_array_equal(whole[row], expected)
        np.testing.assert_array_equal(STREAM.halves(row, 1, size)[0], expected)
    assert STREAM.halves(3, 0, size).shape == (0, size)


def test_halves_are_uniform() -> None:
    numbers = STREAM.halves(0, 20, 50_000).ravel()
    counts = np.bincount(numbers >> 6, minlength=1024)
    assert stats.chisquare(counts).pvalue > 0.001


def test_rounded_quantiles_are_quantiles_of_the_normal_law_on_a_grid() -> None:
    table = rounded_quantiles(0.25, 2**-11)
    np.testing.assert_array_equal(table * 2**11, np.rint(table * 2**11))
    expected = stats.norm.ppf((np.arange(65536) + 0.5) / 65536) / 4
    np.testing.assert_allclose(table, expected, atol=2**-12, rtol=1e-4)
    # Every value of it: today's matrices must be tomorrow's, on every machine.
    assert hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()[:16] == "2967b8c625f8e690"


def test_no_fields() -> None:
    assert STREAM.fields(0, 0, 5).shape == (0, 5) and STREAM.fields(3, 2, 0).shape == (2, 0)


def test_fields_of_another_size_label_or_secret_are_others() -> None:
    streams = [STREAM, STREAM.child("a"), KeyStream(bytes(32), STREAM.label)]
    drawn = [stream.fields(0, 1, size)[0, :64] for stream in streams for size in (64, 65)]
    assert max(abs(np.corrcoef(drawn) - np.eye(6)).ravel()) < 0.5


def test_the_table_is_frozen() -> None:
    # Every float32 of it: the noise of today's keys must be the noise of tomorrow's, on every machine.
    assert hashlib.sha256(quantiles().astype("<f4").tobytes()).hexdigest() == TABLE


def law(t: float) -> float:
    """P(x > t) of a value of a field, exactly: the share of the 2^32 pairs of table entries whose sum is above."""
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


def test_fields_pass_kolmogorov_smirnov_and_have_the_moments() -> None:
    values = STREAM.fields(0, 20, 50_000).ravel().astype(float)
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
