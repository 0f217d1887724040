"""Finding out what went wrong: which layer computes something else, and why a target stopped."""
