"""Media files and transcripts that play in place of microphone, camera and recogniser."""

from typing import Final

END_OF_FILE: Final = "end of file"
NOTHING_PLAYED: Final = f"{END_OF_FILE}: nothing in it could be played"
"""How the reason of a sensor begins whose track ended without a block."""
