"""Training of the shipped encoders: voice activity, voice, face and text."""
