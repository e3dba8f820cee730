"""Training of networks: synthetic pairs, data sets, and the training loop."""
