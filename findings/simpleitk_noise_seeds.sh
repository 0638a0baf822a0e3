#!/usr/bin/env bash
# SimpleITK: the noise that one seed draws turns up in the image of another seed, in another place.
#
# One would guess: noise filters with two different seeds draw noise that has nothing to do with one another; a data set whose
#   image i gets the seed i has fresh noise in every image. The same seed gives the same noise again, on any computer.
# What happens: with two work units (two cores), the lower half of the first image has the very noise that the upper half of a
#   later image has, to the last bit: of 64 rows, seed 1 below is seed 33 above; of 16 slices, seed 1 behind is seed 9 in front.
#   Who has both images can take the noise out of their difference. And one seed draws other noise with another number of work
#   units, which by default is the number of cores of the computer. The more of them, the more seeds share their noise.
# Versions: SimpleITK 2.5.7 (ITK 5.4), numpy 2.4.6.
# Why: each work unit draws on its own, from a seed that is the given one plus the index of the first row or slice of its part,
#   times a constant: `NoiseBaseImageFilter::Hash(a, b)` in itkNoiseBaseImageFilter.h depends on a + b alone. So do
#   AdditiveGaussianNoise, ShotNoise, SpeckleNoise and SaltAndPepperNoise. That their number matters is in the issue 1794 of
#   InsightSoftwareConsortium/ITK.
# For users: draw noise with NumPy; else call `SetNumberOfWorkUnits(1)` on the filter, or take large random seeds and never
#   consecutive ones. (`SetNumberOfThreads(1)` changes nothing here.)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check simpleitk==2.5.7 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import SimpleITK as sitk


def noise(shape: tuple[int, ...], seed: int, units: int = 2) -> np.ndarray:
    """What the filter adds to an image that is 100 everywhere."""
    adding = sitk.AdditiveGaussianNoiseImageFilter()
    adding.SetNumberOfWorkUnits(units)
    adding.SetSeed(seed)
    adding.SetStandardDeviation(10.0)
    grey = sitk.GetImageFromArray(np.full(shape, 100, np.float32))
    return sitk.GetArrayFromImage(adding.Execute(grey)) - 100


print(f"SimpleITK {sitk.Version_VersionString()}; expected: no noise of one seed in the image of another one")
first, later = noise((64, 64), 1), noise((64, 64), 33)
flat = np.array_equal(first[32:], later[:32])
print(f"seen: rows 32 to 63 with seed 1 and rows 0 to 31 with seed 33 are {'the same' if flat else 'different'}: "
      f"{first[32, :3].round(3)} and {later[0, :3].round(3)}")
first, later = noise((16, 32, 32), 1), noise((16, 32, 32), 9)
deep = np.array_equal(first[8:], later[:8])
print(f"seen: slices 8 to 15 with seed 1 and slices 0 to 7 with seed 9 are {'the same' if deep else 'different'}")

scenes = [np.random.default_rng(number).uniform(0, 255, (64, 64)) for number in range(2)]
images = [scene + noise((64, 64), seed) for scene, seed in zip(scenes, (1, 33))]
left = (images[0][32:] - images[1][:32]) - (scenes[0][32:] - scenes[1][:32])
print(f"seen: both images have noise of 10; the difference of these halves has {left.std():.1e}, expected {np.sqrt(200):.1f}")

one, two = noise((64, 64), 1, units=1), noise((64, 64), 1, units=2)
same = np.array_equal(one, two)
print(f"seen: seed 1 with one work unit and with two: {(one != two).mean():.0%} of the values differ")
if not flat or not deep or same or left.std() > 1e-3:
    sys.exit("no longer so")
PY
