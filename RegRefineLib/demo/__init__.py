"""Real labelled pairs from package archives, and the demo on them."""
