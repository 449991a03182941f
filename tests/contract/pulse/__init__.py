"""A toy modality, "pulse": one number a second, from its sensor to replay. ``EDGE_MER_MODALITIES`` names ``rows``."""
