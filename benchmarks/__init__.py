"""Ours beside its peers, on the same patches, in turn, on one machine: `make bench`, figures in RESULTS.md.

inference.py, blending.py, memory.py    one question each
job.py            what is computed: the chunk, the patches, the net (also read by the runners)
race.py           starts the programs and lets them run in turn
runners/          one process per program
agreement.py      whether they computed the same
environment.py    a peer's own environment, and the description of the machine
table.py          medians, ratios, and the sections of RESULTS.md
net.py            the net that all run
"""
