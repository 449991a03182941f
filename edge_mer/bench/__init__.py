"""Benchmarks and soak tests of a running instance, and their figures."""
