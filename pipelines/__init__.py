"""Offline work on models: data sets, training, evaluation, export. Never imported by ``edge_mer``."""
