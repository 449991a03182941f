"""Speech recognisers, and the source of text that runs them."""
