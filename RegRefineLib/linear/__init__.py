"""The linear part: a 4x4 from fixed to moving RAS millimetres."""
