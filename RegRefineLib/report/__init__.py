"""The report of a registration: one self-contained page to look at, keep and send."""
