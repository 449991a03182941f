"""edge_mer: real-time multimodal emotion recognition at the edge."""

import os

__version__ = "0.1.0"

# ONNX Runtime >= 1.29 on Linux sends usage data to Microsoft unless this is set before it is loaded: local only.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
