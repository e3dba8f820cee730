"""Networks at work: found, loaded, and given the grid that they were trained on."""
