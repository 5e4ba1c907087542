"""Adversarial examples: what counts as one, who keeps them, which are shown, their files."""
