"""The C compiler as the harness uses it: finding it, running it, and reading what it left behind."""
