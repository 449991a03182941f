"""The media of the bundled demo session."""
