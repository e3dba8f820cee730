"""Many scans: a manifest is checked, registered row by row on a cluster or this machine, judged."""
