"""The classifiers, one file each: what their layers are, and what they demand of an experiment."""
