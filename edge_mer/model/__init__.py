"""MCULoRA: one model for every combination of modalities (torch only, no I/O)."""

from edge_mer.model.config import MCULoRAConfig
from edge_mer.model.mculora import MCULoRA, Readout

__all__ = ["MCULoRA", "MCULoRAConfig", "Readout"]
