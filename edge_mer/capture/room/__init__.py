"""Calibration of the sensors in their room: what is measured, and what it means."""
