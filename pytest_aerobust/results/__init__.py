"""What was measured: plain values, which any report can read."""
