"""Compiled loops for float32 volumes on the CPU, behind one door (door.py).

Every operation of ops/ and losses/ that has a compiled form asks `door.serves` and falls back to
its plain torch form, which is the reference and what a GPU runs. loops/ holds the loops themselves,
the files beside it take tensors in and hand tensors out. Every loop takes a range of planes
(threads.py), allocates its own rows, and writes to no plane but its own, so that the number of
threads changes no bit; sums are kept per plane and added in one order.
"""
