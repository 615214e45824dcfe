"""Generators of small pictures, for `scripts/bench network`."""
