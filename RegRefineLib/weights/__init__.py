"""models.json -> verified file -> strict load."""
