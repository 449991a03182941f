"""edge_mer: real-time multimodal emotion recognition at the edge."""

__version__ = "0.1.0"
