"""Where a refinement starts: zero, a given field, a network, ConvexAdam, SyN."""
