"""The paper's whole grid of experiments, drawn beside the paper's own figures."""
