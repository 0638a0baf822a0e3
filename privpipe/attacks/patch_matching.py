"""Undo NeuraCrypt: match its patches with places, and its vectors with what patches look like.

After N. Carlini et al., "NeuraCrypt is not private" (2021, arXiv 2108.07256), who begin with a likeness that is hardly
better than chance and boost it, step by step, by what all uploads of a key share. Here no step trains a network; the
steps up to the places are those of `privpipe.perturb.patch_order`.

1. The vectors of each place lie together, so the patches of all uploads get one order.
2. Which place of the order is which place of an image follows from how alike neighbours are (public images), up to
   left and right, as mirror images are as natural; or from known pairs.
3. One linear map for all places makes patches of vectors. Known pairs give it by least squares. Without pairs, the
   public images that resemble an upload most by what no key changes stand for its original at first. What the map
   makes of the uploads is made as contrasty as public images, and like them in its coarse features (their principal
   components); to that a map is fitted again, and so on.

Whose image an upload is needs neither pairs nor public images: with the candidates at hand, `similarity` fits the map
to those that an upload may be of.
"""

import numpy as np

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Images, from_blocks, to_blocks
from privpipe.perturb.neuracrypt import Neuracrypt
from privpipe.perturb.patch_order import (
    RIDGE,
    Expected,
    by_profiles,
    centred,
    in_order,
    linear_map,
    products,
    profiles,
)
from privpipe.perturb.values import Array, Doubles, Floats

LEAST_UPLOADS, MOST_UPLOADS, MOST_PUBLIC = 100, 5000, 1000
ALIKE = 3  # public images that stand for an original at first
ROUNDS, COMPONENTS = 20, 50  # of guessing and fitting; of public images, that a guess keeps
MOST_GAIN = 30.0  # of a component of patches, when a guess is made as contrasty as public images
SHARED_MAP, OWN_MAPS = 3.0, 30.0  # ridges of the map of all places and of what each has beside it, times known pairs
RESEMBLING = 3.0  # real images: 0.27 to 0.35 where the places are right
WHITE = 255.0
SMALL = 1e-3


class PatchMatching(Attack):
    """See the module.

    Confidence is the fraction of what varies in the vectors that their place explains (nearly none where each image has
    a key of its own), times how well a map that was fitted to one half explains the other: of the known pairs, or
    without any of what the maps of both halves make of the same uploads. Without pairs it is halved, as the images may
    be mirrored, and counts as far as uploads resemble public images more than they would with their places in disorder.
    """

    name = "patch_matching"
    levels = ("L1", "L2")
    takes_features = True
    order = 92

    def applies(self, method: Perturbation) -> bool:
        return isinstance(method, Neuracrypt) and method.scope == "dataset" and method.in_places()

    def run(self, view: AdversaryView) -> Outcome:
        """Fit the map, and show what it makes of the targets.

        Raises:
            PrivpipeError: there are fewer than 100 uploads, or neither public images nor pairs.
        """
        method, known = _method(view), _known(view)
        uploads, others = _Uploads(view, method), method.with_other_keys()
        expected = Expected([other.in_place(known) for other in others])
        blocks = _blocks(known, method)
        mean = blocks.mean(axis=0)
        if view.pairs is None:
            uploads.place(expected.best_placed(uploads.learned))
            guessed = _Guessed(uploads.learned, expected, blocks)
            patches = uploads.targets @ guessed.map()
            trust = guessed.agreement() * min(1.0, RESEMBLING * _resembling(uploads.learned, expected)) / 2
        else:
            _place_by_pairs(uploads, expected, [other.in_place(view.pairs.originals) for other in others])
            start = _Guessed(uploads.learned, expected, blocks).map()
            wanted = _blocks(view.pairs.originals, method) - mean
            patches = _Paired(start, uploads.paired, wanted).patches(uploads.targets)
            trust = _trust(start, uploads.paired, wanted)
        shape = (len(patches), method.n_blocks, method.k**2, view.channels)
        levels = np.clip(patches + mean, 0, np.float32(WHITE)).reshape(shape)
        images = from_blocks(levels, method.image_size, method.k)
        return Outcome(images, float(np.clip(uploads.explained * trust, 0, 1)))

    def similarity(self, view: AdversaryView, images: Floats, candidates: Images) -> Floats | Doubles:
        """With known pairs by the reconstructions; without, by what the targets themselves share, which needs no other
        images."""
        if view.pairs is not None:
            return super().similarity(view, images, candidates)
        return _method(view).log_likelihood(view.targets, candidates)


def _method(view: AdversaryView) -> Neuracrypt:
    method = view.transformation
    if not isinstance(method, Neuracrypt):
        raise PrivpipeError(f"patch_matching is for neuracrypt; got {method.name}. Use another attack.")
    return method


def _blocks(images: Images, method: Neuracrypt) -> Floats:
    """Grey levels of the patches, (N, places, values)."""
    return to_blocks(images, method.k).reshape(len(images), method.n_blocks, -1).astype(np.float32)


def _known(view: AdversaryView) -> Images:
    """Images that tell what to expect: public ones, or the originals of the pairs."""
    if view.public is not None:
        return view.public[:MOST_PUBLIC]
    if view.pairs is None:
        raise PrivpipeError("patch_matching needs public images or known pairs. Run it at level L1 or L2.")
    return view.pairs.originals[:MOST_PUBLIC]


class _Uploads:
    """All uploads that share the key, with their patches in one order, about the mean of each place."""

    def __init__(self, view: AdversaryView, method: Neuracrypt) -> None:
        paired = view.pairs.perturbed if view.pairs is not None else view.stolen[:0]
        learned = view.stolen[:MOST_UPLOADS]
        if len(learned) < LEAST_UPLOADS:
            raise PrivpipeError(f"patch_matching needs at least {LEAST_UPLOADS} uploads; got {len(learned)}.")
        parts = [part.reshape(len(part), method.n_blocks, part.shape[3]) for part in (learned, view.targets, paired)]
        ordered = in_order(np.concatenate(parts).astype(np.float32))
        self.ends = np.cumsum([len(part) for part in parts])[:-1]
        self.vectors = centred(ordered)
        total = float(np.square(ordered - ordered.mean(axis=(0, 1))).mean(dtype=np.float64))
        self.explained = 1 - float(np.square(self.vectors).mean(dtype=np.float64)) / max(total, 1e-12)

    def place(self, answer: Array) -> None:
        """Bring the places into the order of the image's."""
        self.vectors = self.vectors[:, answer]

    @property
    def learned(self) -> Floats:
        return self.vectors[: self.ends[0]]

    @property
    def targets(self) -> Floats:
        return self.vectors[self.ends[0] : self.ends[1]]

    @property
    def paired(self) -> Floats:
        return self.vectors[self.ends[1] :]


class _Guessed:
    """The map without pairs.

    Args:
        uploads: their vectors at their places.
        blocks: of public images, grey levels, (M, places, values).
    """

    def __init__(self, uploads: Floats, expected: Expected, blocks: Floats) -> None:
        self.uploads, about = uploads, blocks - blocks.mean(axis=0)
        self.axes = np.linalg.svd(about.reshape(-1, about.shape[2]), full_matrices=False)[2]
        self.contrast = (about @ self.axes.T).std(axis=(0, 1))
        components = np.linalg.svd(about.reshape(len(about), -1), full_matrices=False)[2][:COMPONENTS]
        near = np.argsort(-expected.likeness(uploads), axis=1)[:, :ALIKE]
        self.wanted = about[near].mean(axis=1)
        for _ in range(ROUNDS):
            rows = (uploads @ self.map()).reshape(len(uploads), -1)
            self.wanted = ((rows @ components.T) @ components).reshape(self.wanted.shape)

    def map(self, rows: slice = slice(None)) -> Floats:
        """From vectors to patches about the mean of each place, as contrasty as those of public images.

        Args:
            rows: of the uploads, that it is fitted to.
        """
        turned = linear_map(self.uploads[rows], self.wanted[rows]) @ self.axes.T
        shown = (self.uploads[rows] @ turned).std(axis=(0, 1))
        turned *= np.minimum(self.contrast / np.maximum(shown, SMALL), MOST_GAIN)
        return np.asarray(turned @ self.axes, np.float32)

    def agreement(self) -> float:
        """Of the maps of both halves of the uploads, the squared correlation of what they make of all."""
        one, other = ((self.uploads @ self.map(slice(half, None, 2))).ravel() for half in (0, 1))
        return max(0.0, float(np.corrcoef(one, other)[0, 1])) ** 2


def _resembling(uploads: Floats, expected: Expected) -> float:
    """How much less uploads resemble known images with their places in disorder, as a fraction."""
    disorder = np.random.default_rng(0).permutation(uploads.shape[1])
    found, lost = (float(expected.likeness(one).max(axis=1).mean()) for one in (uploads, uploads[:, disorder]))
    return max(0.0, 1 - lost / max(found, SMALL))


class _Paired:
    """The map from known pairs: what one map for all places makes of vectors, and what each place has beside it.

    Args:
        start: a map to begin with, (width, values).
        vectors: of the uploads of pairs, at their places, (m, places, width).
        patches: of the originals, about the mean of each place, (m, places, values).
    """

    def __init__(self, start: Floats, vectors: Floats, patches: Floats) -> None:
        self.shared = start + linear_map(vectors, patches - vectors @ start, RIDGE + SHARED_MAP / len(vectors))
        rest, ridge = patches - vectors @ self.shared, OWN_MAPS / len(vectors)
        places = range(vectors.shape[1])
        self.own = np.stack([linear_map(vectors[:, [p]], rest[:, [p]], ridge) for p in places])

    def patches(self, vectors: Floats) -> Floats:
        """What it makes of vectors, (N, places, width)."""
        own = (vectors.swapaxes(0, 1) @ self.own).swapaxes(0, 1)
        return np.asarray(vectors @ self.shared + own, np.float32)


def _trust(start: Floats, vectors: Floats, patches: Floats) -> float:
    """The fraction of what varies in the patches of one half of the pairs that the map of the other half explains; of
    a single pair, what the start explains."""
    left = np.square(patches - vectors @ start).sum() if len(vectors) == 1 else 0.0
    for half in (0, 1) if len(vectors) > 1 else ():
        fitted = _Paired(start, vectors[half::2], patches[half::2])
        left += np.square(patches[1 - half :: 2] - fitted.patches(vectors[1 - half :: 2])).sum()
    return max(0.0, 1 - float(left / max(np.square(patches).sum(), 1e-9)))


def _place_by_pairs(uploads: _Uploads, expected: Expected, originals: list[Floats]) -> None:
    """Bring the uploads into the order of the image's places that the pairs bear out.

    Args:
        originals: the vectors of the originals of the pairs under keys of one's own, at their places.
    """
    answer = expected.best_placed(uploads.learned)
    side = round(len(answer) ** 0.5)
    answers = [answer, answer.reshape(side, side)[:, ::-1].ravel()]
    if len(originals[0]) > 1:
        answers.append(by_profiles(expected.profiles_of(originals), profiles(uploads.paired)))
    wanted = expected.products_of(originals)
    borne_out = [float((products(uploads.paired[:, one], uploads.learned[:, one]) * wanted).sum()) for one in answers]
    uploads.place(answers[int(np.argmax(borne_out))])
