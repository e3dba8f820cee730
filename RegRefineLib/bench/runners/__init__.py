"""A script per tool; each runs in the tool's own Python and needs nothing of this package."""
