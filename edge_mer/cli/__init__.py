"""The command line: one file per command, and the live terminal view that ``run`` and ``demo`` share."""
