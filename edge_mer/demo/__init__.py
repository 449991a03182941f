"""``edge-mer demo``: a bundled session, and the script that is played on it."""
