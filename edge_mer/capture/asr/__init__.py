"""Speech recognisers, and the text source that runs them."""
