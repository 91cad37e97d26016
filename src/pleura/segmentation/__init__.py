"""One image to a mask."""
