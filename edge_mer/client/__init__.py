"""Client library for a running instance, used by the command line, the demo, the gateway and third-party programs.

``SwitchClient`` waits for answers; ``PendingCommands`` is its non-blocking form for a program with its own loop.
"""

from edge_mer.client.pending_commands import PendingCommands
from edge_mer.client.switch_client import NoAnswer, SwitchClient

__all__ = ["NoAnswer", "PendingCommands", "SwitchClient"]
