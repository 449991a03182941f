"""Home Assistant's core itself, with a real broker and a real edge_mer: ``python -m tests.home_assistant``."""
