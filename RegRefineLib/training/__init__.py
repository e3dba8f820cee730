"""Training: synthetic pairs, data sets, and the loop that makes weights of them."""
