"""How fast privpipe is, against what one would write without it: `make bench`, or `python -m benchmarks --help`."""
