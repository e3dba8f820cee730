"""The loops themselves: plain Python over flat float32 rows, compiled by numba when first called.

Written so that the compiler can work on whole vectors: rows are taken out as one-dimensional
arrays, indices are unsigned (no wrap-around), and what a row needs more than once is kept in a
buffer that stays in the first-level cache. No helper lies in another file than its loop: the
compiled code is kept on disk until that file changes.
"""
