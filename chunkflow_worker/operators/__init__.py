"""What can be done to a task?

One operator per file; the name of the file is that of the operator, with underscores.
"""
