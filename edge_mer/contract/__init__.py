"""What every package may import: the vocabulary, messages, topics, the wire format, errors and clocks."""
