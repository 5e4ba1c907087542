"""What is under test: models, filters and data, adapted to one form."""
