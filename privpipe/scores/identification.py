"""Whose image is it? How often an upload is told among M candidates: three kinds of statement that are never mixed.

An adversary who suspects that an upload is one of M images (the true one among them, each as likely) and knows the
method but no key names one. The success of the best such adversary is the Bayes vulnerability (Smith, "On the
foundations of quantitative information flow", FoSSaCS 2009; Alvim et al., "The Science of Quantitative Information
Flow", 2020):

    V = (1/M) · sum over outputs y of max_i P(y | candidate i),   the key integrated out.

- **exactly**: where images fall into classes that share no output and within which the outputs are equally
  distributed (`Perturbation.orbit`), the sum counts the classes: V = classes / M. Nobody does better, and somebody does
  as well, for a single upload. With many uploads under one key (`scope: dataset`) the key is found, and V is 1.
- **at most**: for Gaussian noise. Whoever sees x + N(0, S), with |S^(-1/2) (x - x')| at most mu for any two images, and
  guessed right with a probability of kappa before, guesses right with at most Phi(Phi^(-1)(kappa) + mu) (Kaissis et
  al., "Bounding data reconstruction attacks with the hypothesis testing interpretation of differential privacy", 2023,
  arXiv 2307.03928; Hayes, Mahloujifar and Balle, NeurIPS 2023, arXiv 2302.07225).
- **at least**: how often our own adversary names the right candidate, by what no key changes or by likelihood.

Labels are published beside the uploads, so that the candidates of an upload are those of its class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from privpipe.attacks.linkage import method_similarity
from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.scores.guarantee import SHARED, distances, ends_of_noise
from privpipe.statistics.accounting import identified_at_most, without_luck

T = TypeVar("T")
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """What is exactly known of a method and M candidates.

    Args:
        identified: 0..1, V of the module's description.
        bits: log2(M·V), what an upload tells of which candidate it is, in the sense of min-entropy.
        guesses: how many candidates the best adversary names on average until the right one is among them.
    """

    identified: float
    bits: float
    guesses: float


@dataclass(frozen=True)
class Identified:
    """The three statements on one method, settings and set of candidates; None where a kind has none, `why` says why.

    Args:
        candidates: M.
        prior: 0..1, how often a guess by the class alone is right: classes / M.
        exactly, at_most, at_least: see the module's description; 0..1, but for `exactly`.
        why: in words, why one of them has no number.
    """

    candidates: int
    prior: float
    exactly: Counted | None
    at_most: float | None
    at_least: float | None
    why: dict[str, str]


def identified(method: Perturbation, candidates: Images, labels: Labels, targets: Array | None = None) -> Identified:
    """All three statements, for uploads of images that are among the candidates.

    Args:
        method: the transformation; its own key is not used.
        candidates: uint8 (M, H, W, C).
        labels: their classes, int64 (M,).
        targets: the uploads of the first T candidates as stored, (T, H, W, C), for `at_least`; None: it has no number.
    """
    why: dict[str, str] = {}

    def noted(kind: str, measure: Callable[[], T]) -> T | None:
        try:
            return measure()
        except PrivpipeError as error:
            why[kind] = str(error)
            return None

    sizes = np.unique(labels, return_counts=True)[1]
    bound = _bound(method, candidates.shape[3], sizes)
    if isinstance(bound, str):
        why["at_most"] = bound
    told = None if targets is None else noted("at_least", lambda: at_least(method, targets, candidates, labels))
    if targets is not None and told is not None and not isinstance(bound, str):
        told = without_luck(told, len(targets), bound)
    return Identified(
        len(candidates),
        len(sizes) / len(candidates),
        noted("exactly", lambda: exactly(method, candidates, labels)),
        None if isinstance(bound, str) else bound,
        told,
        why,
    )


def identification(
    method: Perturbation, candidates: Images, labels: Labels, targets: Array | None = None
) -> dict[str, str | float | None]:
    """The flat metrics of `identified`, rounded as they are published, all beginning with `identified_`.

    `identified_candidates` and `identified_prior`: how many, and how often the class alone tells. `identified_exactly`,
    with `identified_bits` and `identified_guesses`, `identified_at_most` and `identified_at_least`: the three
    statements. `identified_exactly_why`, `identified_at_most_why` and `identified_at_least_why`: why one has no number.
    """
    return as_metrics(identified(method, candidates, labels, targets))


def as_metrics(result: Identified) -> dict[str, str | float | None]:
    """The flat metrics, as `identification` describes them."""
    counted = result.exactly
    metrics: dict[str, str | float | None] = {
        "identified_candidates": result.candidates,
        "identified_prior": _rounded(result.prior),
        "identified_exactly": None if counted is None else _rounded(counted.identified),
        "identified_bits": None if counted is None else round(counted.bits, 2),
        "identified_guesses": None if counted is None else round(counted.guesses, 2),
        "identified_at_most": _rounded(result.at_most),
        "identified_at_least": _rounded(result.at_least),
    }
    return metrics | {f"identified_{kind}_why": result.why.get(kind) for kind in ("exactly", "at_most", "at_least")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def exactly(method: Perturbation, candidates: Images, labels: Labels) -> Counted:
    """How often the best of all adversaries names the right candidate: a theorem about the method, counted.

    Args:
        candidates: uint8 (M, H, W, C), not empty.
        labels: int64 (M,).

    Raises:
        PrivpipeError: the method has no such count, see `Perturbation.orbit`.
    """
    rows = method.orbit(candidates)
    sizes = np.unique(_digests(rows, labels), return_counts=True)[1].astype(np.float64)
    total = len(candidates)
    # Within a class of s candidates any order of naming them is as good: the right one is the (s + 1)/2-th on average.
    return Counted(len(sizes) / total, float(np.log2(len(sizes))), float((sizes * (sizes + 1)).sum() / (2 * total)))


def at_most(sizes: NDArray[np.integer], mu: float) -> float:
    """How often any adversary at all names the right candidate: a theorem about noise.

    Args:
        sizes: how many candidates each class has; the class is known.
        mu: how far any two images lie apart at most, in standard deviations of the noise.
    """
    # Of a class of s candidates one upload in M is as likely as another, and a guess is right once in s.
    bounds = identified_at_most(1 / sizes, mu)
    return float((sizes * bounds).sum() / sizes.sum())


def at_most_pure(sizes: NDArray[np.integer], epsilon: float) -> float:
    """The same of a method that is `epsilon`-locally differentially private.

    Of s candidates the right one is named with at most e^epsilon / (e^epsilon + s - 1), as randomised response has it.
    """
    bounds = 1 / (1 + (sizes - 1) * np.exp(-epsilon))
    return float((sizes * bounds).sum() / sizes.sum())


def _bound(method: Perturbation, channels: int, sizes: NDArray[np.integer]) -> float | str:
    """`at_most` of what is known of the method's noise, or in words why nothing is."""
    pure = method.epsilons(channels)
    if pure is not None:
        return SHARED if method.scope == "dataset" else at_most_pure(sizes, pure[1])
    mus = distances(method, channels)
    if isinstance(mus, str):
        return mus
    return min(1.0, at_most(sizes, mus[1]) + ends_of_noise(method, channels, mus)[1])


def at_least(method: Perturbation, targets: Array, candidates: Images, labels: Labels) -> float:
    """How often the likeliest candidate of its class is the right one; equally likely ones count in part.

    Args:
        targets: uploads of the first T candidates, as stored, (T, H, W, C).
        candidates: uint8 (M, H, W, C), T at most M.
        labels: int64 (M,).

    Raises:
        PrivpipeError: the shapes do not fit, or the method has a key and no likelihood.
    """
    right, rarest = 0.0, np.unique(labels[: len(targets)], return_counts=True)[1].min()
    # Where a class has too few uploads to tell what they share, all of them tell it.
    whole = method_similarity(targets, candidates, method) if rarest < method.told_together else None
    for uploads, class_ in _classes(labels, len(targets)):
        similarity = (
            method_similarity(targets[uploads], candidates[class_], method)
            if whole is None
            else whole[np.ix_(uploads, class_)]
        )
        true = similarity[np.arange(len(uploads)), np.searchsorted(class_, uploads)][:, None]
        tied = (similarity == true).sum(axis=1)
        right += float(((similarity <= true).all(axis=1) / tied).sum())
    return right / len(targets)


def _classes(labels: Labels, targets: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """For each class of the first `targets` images: their rows, and those of all candidates of that class."""
    for label in np.unique(labels[:targets]):
        rows = np.flatnonzero(labels == label)
        yield rows[rows < targets], rows


def _digests(rows: Array, labels: Labels) -> Array:
    """Labels and rows as bytes that compare, (M,)."""
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1)).view(np.uint8)
    named = np.concatenate([labels.astype(np.int64)[:, None].view(np.uint8), flat], axis=1)
    return np.ascontiguousarray(named).view(np.dtype((np.void, named.shape[1])))[:, 0]
