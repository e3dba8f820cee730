"""Series over time: registered frame by frame with bounded memory, tied together in time."""
