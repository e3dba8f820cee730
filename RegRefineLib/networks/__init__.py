"""Networks that predict a displacement field, one file each."""
