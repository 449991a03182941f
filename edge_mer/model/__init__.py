"""MCULoRA with MMoLRE experts: one model for every combination of modalities (torch only, no I/O)."""

from edge_mer.model.config import TASKS, MCULoRAConfig, Task, sized
from edge_mer.model.inputs import Window, dialogue
from edge_mer.model.mculora import MCULoRA, Readout, Trace

__all__ = ["TASKS", "MCULoRA", "MCULoRAConfig", "Readout", "Task", "Trace", "Window", "dialogue", "sized"]
