"""What leaves the host, and only where the configuration names an address."""
