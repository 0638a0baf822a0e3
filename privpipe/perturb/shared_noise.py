"""Telling images by uploads that all carry the same noise (`scope: dataset`), by how these differ."""

import numpy as np

from privpipe.perturb.distances import squared_distances
from privpipe.perturb.values import Array, Doubles, Floats

TOGETHER = 10  # uploads from which on they are compared as those of one key
FEW = 200  # uploads, and candidates, that the noise is found from
ROUNDS = 3


def matched(uploads: Floats, candidates: Array, deviation: float, cut: tuple[float, float] | None = None) -> Doubles:
    """How well each upload fits each candidate, where one field of noise was added to all, (T, G); only rows compare.

    The field is what the medians of uploads and of candidates differ by, as far as few images tell that. Then the
    likeliest candidates stand for the originals and tell it anew, a few times.

    Args:
        uploads: grey levels, (T, values).
        candidates: uint8, or means of such, (G, values).
        deviation: of the noise, in grey levels.
        cut: the values that uploads were cut to; None: they were not.
    """
    few, some = uploads[:FEW], candidates[:FEW].astype(np.float32)
    inside = np.ones(few.shape, bool) if cut is None else (few > cut[0]) & (few < cut[1])
    doubt = np.pi / 2 * some.var(axis=0) / len(few)  # of a median
    middle, likeness = np.median(few, axis=0), np.zeros((len(uploads), len(candidates)))
    field = (middle - np.median(some, axis=0)) * (deviation**2 / (deviation**2 + doubt))
    told = np.asarray(np.ones(len(field), bool) if cut is None else (middle > cut[0]) & (middle < cut[1]))
    for _ in range(ROUNDS):
        if cut is None:
            likeness = -squared_distances((uploads - field).astype(np.float32), candidates)
        else:
            likeness = -squared_distances(uploads[:, told], np.clip(candidates[:, told] + field[told], *cut))
        rest = few - candidates[likeness[: len(few)].argmax(axis=1)].astype(np.float32)
        told = np.asarray(inside.any(axis=0))
        field[told] = np.nanmedian(np.where(inside, rest, np.nan)[:, told], axis=0)
    return likeness
