"""The panel: what is seen and clicked."""
