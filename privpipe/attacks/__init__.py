"""The attacker's room: perturbed files, public images and the methods; never a key or a raw image."""
