"""Requests of clients outside: describe, schema, status, mask, unmask."""
