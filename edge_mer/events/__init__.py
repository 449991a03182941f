"""Events with a false-alarm budget: evidence of one label over time, as one pure fold."""
