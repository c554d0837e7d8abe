"""Training and evaluation: the loops around the core, and what they keep."""
