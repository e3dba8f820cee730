"""What the panel does, without a toolkit: check, start, follow, stop, publish, compare, revert."""
