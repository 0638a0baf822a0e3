"""The study: the paper's whole grid of experiments, run side by side and drawn beside the paper's own figures."""
