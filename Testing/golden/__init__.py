"""Checkers of golden files, one kind per file."""
