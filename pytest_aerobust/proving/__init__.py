"""From a contract to its verdict: at one budget, over budgets, over whatever else varies."""
