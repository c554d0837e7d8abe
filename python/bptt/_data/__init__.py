"""Data sets: from what users give to what the core takes."""
