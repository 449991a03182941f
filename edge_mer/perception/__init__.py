"""Encoders: folds from captured blocks to tokens. Arrays in, arrays out; no sockets, no torch."""
