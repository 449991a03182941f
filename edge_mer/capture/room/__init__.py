"""Calibration of the microphone and camera of one room: what is measured, and how it is judged and stored."""
