"""After training: INT8 ranges, and what they cost in accuracy."""
