"""How any program talks to a running instance: the command line, the demo, the gateway, and programs of others.

``SwitchClient`` waits for answers; ``PendingCommands`` is the same for a program with a loop of its own.
"""

from edge_mer.client.pending_commands import PendingCommands
from edge_mer.client.switch_client import NoAnswer, SwitchClient

__all__ = ["NoAnswer", "PendingCommands", "SwitchClient"]
