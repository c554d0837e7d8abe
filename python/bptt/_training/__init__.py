"""Training and evaluation: loops around the core, and the state that they keep."""
