"""Definitions that every package may import: vocabulary, messages, topics, the wire format, errors and clocks."""
