"""The leaderboard: methods under the standard suite, each with several keys and training seeds, as one page."""
