"""Data sets as typed records, splits, and features of them."""
