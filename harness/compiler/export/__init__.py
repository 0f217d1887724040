"""The ways in which a compiled model leaves the harness, one file each."""
