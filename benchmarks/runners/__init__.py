"""One process per program.

It loads everything, warms up, and then runs once for each line "go" on its standard input.
"""
