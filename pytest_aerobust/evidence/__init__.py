"""What makes a claim count, and what makes a pass trustworthy."""
