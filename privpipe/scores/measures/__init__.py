"""The scores, one file each: what an attempt of an adversary achieved."""
