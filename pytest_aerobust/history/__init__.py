"""What earlier runs leave for later ones."""
