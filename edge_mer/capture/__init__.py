"""Capture workers: each process alone owns its device, and the gate that may open it is inside."""
