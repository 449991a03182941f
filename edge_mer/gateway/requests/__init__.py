"""Requests of external clients: describe, schema, status, mask, unmask."""
