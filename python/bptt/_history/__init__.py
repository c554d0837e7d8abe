"""What `History` is made of: the steps of the optimiser, frames and plots."""
