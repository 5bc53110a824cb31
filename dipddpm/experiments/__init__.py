"""Experiments: which cells there are, and how one follows from another."""
