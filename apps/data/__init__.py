"""Data sets: writing generated ones."""
