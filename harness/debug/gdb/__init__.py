"""A crash, or an emulator, in the hands of gdb: core files, a remote stub, and gdb itself on the terminal."""
