"""Outlets to other hosts. An outlet runs only when the configuration names its address."""
