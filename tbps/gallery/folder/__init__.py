"""A gallery in a folder."""
