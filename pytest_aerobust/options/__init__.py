"""A run's options: declared, read, held."""
