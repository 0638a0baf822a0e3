"""The table of docs/results.md on whose image an upload is: every method, on the images of an experiment.

python -m privpipe.scores.identification_table data/private/images.h5
"""

import sys

from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key
from privpipe.perturb import PERTURBATIONS, Perturbation
from privpipe.perturb.base import Images
from privpipe.perturb.keystream import KeyStream
from privpipe.scores.identification import Labels, identified
from privpipe.scores.scoring import load_candidates

CANDIDATES, TARGETS = 10_000, 1000
SIGMAS = (100.0, 200.0, 1000.0)


def settings(image_size: int, stream: KeyStream) -> list[Perturbation]:
    """Every method at its usual sizes, keyed ones with a fresh key for each image; noise at three strengths."""
    out = []
    for method in PERTURBATIONS.values():
        legal = method.legal_k(image_size)
        sizes = [1] if legal is None else [k for k in method.usual_sizes or legal[2:3] if k in legal]
        scope = "image" if method.keyed else "dataset"
        strengths = SIGMAS if method.noisy else (0.0,)
        out += [method(image_size, k, scope, sigma, stream) for k in sizes for sigma in strengths]
    return out


def table(candidates: Images, labels: Labels, stream: KeyStream, targets: int = TARGETS) -> str:
    """Markdown: the three statements on each of `settings`, for the first `targets` candidates as uploads.

    Args:
        candidates: uint8 (M, H, W, C).
        labels: int64 (M,).
    """
    lines = ["| method | settings | exactly | at most | at least |", "|---|---|---|---|---|"]
    for method in settings(candidates.shape[1], stream):
        result = identified(method, candidates, labels, method.apply(candidates[:targets]))
        exactly = None if result.exactly is None else result.exactly.identified
        chosen = [f"k={method.k}"] if method.legal_k(method.image_size) is not None else []
        chosen += [f"sigma={method.sigma:g}"] if method.noisy else []
        cells = [
            "" if value is None else f"{100 * value:.2f} %" for value in (exactly, result.at_most, result.at_least)
        ]
        lines.append(f"| {method.name} | {', '.join(chosen)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: list[str]) -> str:
    """The table for the file of raw images that is named."""
    if len(words) != 1:
        return "usage: python -m privpipe.scores.identification_table data/private/images.h5"
    try:
        candidates, labels = load_candidates(words[0], CANDIDATES)
    except PrivpipeError as error:
        return str(error)
    return f"{len(candidates):,} candidates\n\n{table(candidates, labels, new_key(0).stream)}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
