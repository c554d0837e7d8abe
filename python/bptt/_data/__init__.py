"""Data sets: what users give becomes what the core takes."""
