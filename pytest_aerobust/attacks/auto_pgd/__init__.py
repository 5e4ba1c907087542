"""Auto-PGD (Croce & Hein 2020): steps whose size follows their success."""
