"""Fusion: one pure fold from tokens to estimates, its journal, and the node that runs it."""
