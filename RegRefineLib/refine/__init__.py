"""Refinements of a start field, one method per file."""
