"""Who agreed to what, and until when."""
