"""Square attack (Andriushchenko et al. 2020): random windows, scores alone."""
