"""Capture workers: each process owns one device and the gate that opens it."""
