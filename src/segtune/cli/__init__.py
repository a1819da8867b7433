"""The command line: one module a command, thin over the Python interface.

Commands import the engine only when they run, so that `--help` answers at once. No logic lives here.
"""
