"""What a suite measured last time, in a file under version control."""
