"""The command line's commands, one per file: `add` declares the arguments, `run` does it."""
