"""Benchmarks against other programs: same patches, one machine, each program in turn.

`make bench` runs them and prints the figures; `make bench BENCH=--write` also writes RESULTS.md.

inference.py, blending.py, memory.py, volume_io.py, small_tasks.py, sending.py   one question each
job.py            what is computed: the chunk, the patches, the net; runners read it too
race.py           starts the programs and runs them in turn
runners/          one process per program
agreement.py      checks that the programs computed the same
environment.py    the environment of each other program, and the description of the machine
options.py        what each of them can be told: --repeats, --write
table.py          medians, ratios, and the sections of RESULTS.md
net.py            the net that all programs run
tiny_net.py       a net that costs next to nothing
"""
