"""Who may open a device: leases, the switch, and the children that must forget."""
