"""Training of deblurring networks."""
