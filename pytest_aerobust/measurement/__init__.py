"""One measurement: an attack on a subject at a budget, until enough is known."""
