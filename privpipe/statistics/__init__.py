"""Noisy sums over a whole set of images, and what may be computed from them: differentially private statistics.

`features` maps images to vectors, `mechanism` sums them and adds noise, `heads` makes classifiers of the sums,
`mixtures` sums some of a class each, so that any classifier is trained on them,
`accounting` says what the noise guarantees, `membership` and `audit` measure what an adversary gets all the same.
"""
