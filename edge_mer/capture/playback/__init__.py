"""Files that play as microphone, camera and transcript."""
