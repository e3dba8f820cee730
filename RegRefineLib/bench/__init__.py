"""The benchmark: the same pairs, the same judge, every tool in a process of its own."""
