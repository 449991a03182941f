"""Keys of this host and of people: identities, pairing, signatures, grants and leases."""
