"""Running networks: finding and loading them, and resampling to the grid they were trained on."""
