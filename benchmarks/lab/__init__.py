"""Layouts of image files that laboratories write, each with what must come out of it."""
