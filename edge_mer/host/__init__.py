"""Processes of this host: the worker loop, the supervisor, the process table, and files written safely."""
