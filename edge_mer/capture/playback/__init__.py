"""Media files and transcripts that play in place of microphone, camera and recogniser."""
