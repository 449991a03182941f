"""Compiled models: the only place that opens an inference session."""
