"""The process behind Slicer, and how a run travels to it."""
