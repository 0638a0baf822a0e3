"""The table of docs/threat-model.md on what a second release tells: means over ten keys, on drawn images.

python -m privpipe.scores.release_table
"""

from collections.abc import Sequence

import numpy as np

from privpipe.data.synthetic import draw
from privpipe.owner.key import new_key
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import Images
from privpipe.scores.second_release import MOST_IMAGES, NAMES, second_release

KEYS = 10


def table(images: Images, streams: Sequence[KeyStream]) -> str:
    """Markdown: the metrics of every keyed method in both scopes, means over keys."""
    lines = [
        "| method | scope | settings | gain, dB | independent, dB | filters found | changed | rows' gain, dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, method in PERTURBATIONS.items():
        legal = method.legal_k(images.shape[1])
        k = 1 if legal is None else 3 if 3 in legal else 4
        for scope in ("image", "dataset") if method.keyed else ():
            owners = [method(images.shape[1], k, scope, 100.0, stream) for stream in streams]
            measured = [second_release(owner, images) for owner in owners]
            first = "sigma=100" if method.noisy else f"k={k}"
            columns = [[value for each in measured if isinstance(value := each[key], float)] for key in NAMES]
            values = " | ".join(f"{sum(column) / len(column):.4f}" if column else "" for column in columns)
            lines.append(f"| {name} | {scope} | {first}, {measured[0]['second_release_setting']} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    drawn = draw(MOST_IMAGES, 32, rng=np.random.default_rng(0)).images
    print(table(drawn, [new_key(seed).stream for seed in range(KEYS)]))
