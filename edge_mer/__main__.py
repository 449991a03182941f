"""``python -m edge_mer`` is ``edge-mer``."""

from edge_mer.cli.main import main

main()
