"""What the numbers mean: whether floors hold, for the samples or their population, in words."""
