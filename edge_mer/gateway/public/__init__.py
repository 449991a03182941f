"""The public topics over ZeroMQ."""
