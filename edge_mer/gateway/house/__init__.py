"""A house of rooms: the process ``house`` reads the public topics of several hosts and masks them together."""
