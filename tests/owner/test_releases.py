"""The ledger of releases: what several come to, and the budget that they must not pass."""

import json
import math
import stat

import pytest
from scipy.stats import norm

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key, new_key
from privpipe.owner.releases import Entry, entries, place, record
from privpipe.statistics.accounting import mu_of

DELTA = 1e-5


def entry(digest: str, epsilon: float) -> Entry:
    return Entry(digest, "dp_statistics", mu_of(epsilon, DELTA), epsilon, DELTA)


@pytest.fixture
def key() -> Key:
    return new_key(None)


def test_what_releases_come_to_is_what_one_of_their_mu_would(key: Key) -> None:
    assert record(key, entry("a", 1.0), None) == pytest.approx(1.0)
    total = record(key, entry("b", 2.0), None)
    mu = math.hypot(mu_of(1.0, DELTA), mu_of(2.0, DELTA))
    # The definition: delta(epsilon) of two normal laws that lie mu apart.
    assert norm.cdf(mu / 2 - total / mu) - math.exp(total) * norm.cdf(-mu / 2 - total / mu) == pytest.approx(DELTA)
    assert max(1.0, 2.0) < total < 1.0 + 2.0
    assert [one.digest for one in entries(key)] == ["a", "b"]
    assert stat.S_IMODE(place(key).stat().st_mode) == 0o600


def test_the_same_release_again_costs_nothing(key: Key) -> None:
    assert record(key, entry("a", 1.0), 1.0) == record(key, entry("a", 1.0), 1.0)
    assert len(entries(key)) == 1


def test_a_release_over_the_budget_is_refused_and_not_recorded(key: Key) -> None:
    record(key, entry("a", 1.0), 1.5)
    with pytest.raises(PrivpipeError, match=r"all come to epsilon 1\.\d+ at delta 1e-05; key\.budget is 1\. 1 re"):
        record(key, entry("b", 1.0), 1.0)
    assert [one.digest for one in entries(key)] == ["a"]
    assert record(key, entry("b", 1.0), 1.6) < 1.6


def test_another_key_has_another_ledger(key: Key) -> None:
    record(key, entry("a", 1.0), 1.0)
    assert record(new_key(None), entry("b", 1.0), 1.0) == pytest.approx(1.0)


def test_a_research_key_has_none_and_each_release_counts_alone() -> None:
    key = new_key(5)
    for digest in "ab":
        assert record(key, entry(digest, 1.0), 1.0) == pytest.approx(1.0)
    assert not place(key).exists()
    with pytest.raises(PrivpipeError, match=r"A research key has no ledger; this is the release alone\. Use a smaller"):
        record(key, entry("c", 3.0), 1.0)


@pytest.mark.parametrize("damage", ["", "[]", '{"format": "other", "releases": []}', "mu"])
def test_a_ledger_that_cannot_be_read_stops_the_release(key: Key, damage: str) -> None:
    record(key, entry("a", 1.0), None)
    if damage == "mu":
        content = json.loads(place(key).read_text())
        content["releases"][0]["mu"] = 0
        damage = json.dumps(content)
    place(key).write_text(damage)
    with pytest.raises(PrivpipeError, match=r"cannot read .*releases\.json, the ledger .* Restore it from your backup"):
        record(key, entry("b", 1.0), None)
