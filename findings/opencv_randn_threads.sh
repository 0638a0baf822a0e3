#!/usr/bin/env bash
# OpenCV: every new thread draws the same noise, whatever the seed.
#
# One would guess: `cv2.setRNGSeed` seeds the generator of `randn`, `randu` and `randShuffle` for the process, and two images
#   that get noise in two threads get two noises.
# What happens: each thread has a generator of its own, and each starts from one fixed state. The seed reaches only the thread
#   that sets it, and without a seed the first noise of all threads, processes and runs is the same. Of two images that two
#   threads perturb, the difference of the results is that of the originals: the noise hides nothing of it.
# Versions: opencv-python-headless 4.14.0.94 and 5.0.0.93, numpy 2.4.6.
# Why: `theRNG` in modules/core/src/rand.cpp returns the `rng` of the thread's `CoreTLSData`, which starts as `RNG()`, and
#   `setRNGSeed` overwrites that one. Issue 29591 of opencv/opencv, which asks for generators of one's own, takes it for global.
# For users: draw noise with a NumPy generator per image, or call `setRNGSeed` with a seed of its own before each image, in the
#   thread that draws.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >check.py <<'PY'
import subprocess
import sys
import threading

import cv2
import numpy as np


def noise():
    drawn = np.zeros((64, 64), np.float32)
    cv2.randn(drawn, 0, 20)
    return drawn


def in_threads(count):
    drawn = []
    for _ in range(count):
        thread = threading.Thread(target=lambda: drawn.append(noise()))
        thread.start()
        thread.join()
    return drawn


if len(sys.argv) > 1:
    print(noise().tobytes().hex())
    sys.exit()
runs = {subprocess.run([sys.executable, __file__, "draw"], capture_output=True, check=True).stdout for _ in range(2)}
cv2.setRNGSeed(1)
one = in_threads(3)
cv2.setRNGSeed(2)
two = in_threads(3)
images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64)).astype(np.float32)
released = images + np.stack(two[:2])
left = np.abs((released[0] - released[1]) - (images[0] - images[1])).max()
kinds = len({drawn.tobytes() for drawn in one + two})
runs.add(one[0].tobytes().hex().encode() + b"\n")
cv2.setRNGSeed(1)
first = noise()
cv2.setRNGSeed(2)
heeded = not np.array_equal(first, noise())
print(f"opencv {cv2.__version__}; different noises of 6 threads, three after each of two seeds: {kinds} (expected 6)")
print(f"  different first noises of 2 runs without a seed and a thread: {len(runs)}; the main thread heeds the seed: {heeded}")
print(f"  noise of standard deviation 20 in two images changes their difference by {left:.6f} at most")
if kinds != 1 or len(runs) != 1 or not heeded or left > 0.001:
    sys.exit("no longer so")
PY
for version in 4.14.0.94 5.0.0.93; do
  python3 -m venv "venv-$version"
  "venv-$version/bin/python" -m pip install --quiet --disable-pip-version-check \
    "opencv-python-headless==$version" numpy==2.4.6
  "venv-$version/bin/python" check.py
done
