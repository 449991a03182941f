"""Sessions in MCAP files: recorder, reader, player, verifier."""
