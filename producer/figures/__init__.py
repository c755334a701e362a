"""What do the records of a job say, in figures?

job.py          all figures of a job, from its records in any order
tasks.py        numbers of tasks, attempts, voxels, bytes and patches
quantiles.py    median and 95th percentile of many numbers, in little memory
operators.py    seconds of each operator
timeline.py     tasks and voxels over time, in bins
spans.py        times in which something was busy, joined where they overlap
workers.py      each worker: its device and host, its first and last sign, how busy it was
hosts.py        machines: their workers, and whether they are slower than the others
extremes.py     the slowest tasks, and the failures by cause
provenance.py   chains, nets and versions that the boxes come from
place_map.py    where in the volume boxes are done, failed or slow: projections of the grid
dollars.py      machine-hours and dollars that a job took
spent.py        what a job has taken so far, and will take, beside its plan
moments.py      times of records as numbers
rounding.py     numbers with few digits, so that two reports can be compared

Nothing here prints, asks storage or changes a job. The memory does not grow with the records.
"""
