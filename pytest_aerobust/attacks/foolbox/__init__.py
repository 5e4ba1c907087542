"""Foolbox's attacks, run so that a sample may retire and nobody asks more than he may."""
