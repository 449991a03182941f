"""Benchmarks and soak tests of a running instance, and the figures that they print."""
