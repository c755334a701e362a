"""One process per program: it loads everything, warms up, and then runs once for each line "go" on its input."""
