"""What the adversary runs and sees: perturbed files, public images and the methods; never a key or a raw image."""
