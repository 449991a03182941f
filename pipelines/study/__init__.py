"""Tables, controls and evaluations."""
