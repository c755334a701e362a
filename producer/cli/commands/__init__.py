"""Which commands does ``chunkflow-producer`` have?

One file for each: `<name>.py` holds the click command `<name>`. The name of the file is enough for
the command to be found. Files import what is heavy inside functions, so that ``--help`` stays fast.
"""
