"""Which commands are there, and what do they print?

chunkflow.py    `chunkflow`: operators chained on one line, each with its options
look.py         `chunkflow look`: stored volumes and meshes in Neuroglancer
old_lines.py    what command lines of older versions hold, as a table
local.py        runs that chain on this machine, or freezes it for workers
local_run.py    runs single tasks of it, and records them
local_stages.py  all stages of a pipeline file, one after the other
own_code.py     the traceback of an error in a plugin or a net
summary.py      what a local run took
worker.py       `chunkflow-worker`: runs a worker, and shows settings, schema and health
check.py        `chunkflow-worker check`: what a chain will do, before it runs
needs.py        what its tasks read, compute and hold in memory, as data
"""
