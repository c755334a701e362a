"""What will it take?

forecast.py     what `plan` tells: boxes, voxels, memory, volumes, requests, hours and dollars
job.py          gathers what that is made from
estimate.py     puts it together, for numbers and kinds of machines
places.py       sums over the boxes of a job, without a look at each box
worker.py       asks the worker's own command what tasks read, compute and hold in memory
traffic.py      what tasks read of volumes and write to them
ratio.py        how many bytes a voxel takes in storage
reuse.py        which blocks workers fetch, and which they still have
requests.py     the requests to S3, SQS and CloudWatch
seconds.py      what tasks took, by records
measure.py      runs some boxes on this machine
scratch.py      the chain of such a run, which writes to a place of its own
alignment.py    whether boxes fit the blocks of volumes
fleet.py        machine-hours, wall time and dollars, interruptions included
stored.py       the forecast in the ledger, that a job is compared with later
bill.py         dollars for storage, requests, messages, metrics and transfer
sizes.py        chunk sizes that cost less
prices.py       the price table: machines and services of AWS
prices.yaml     the table that comes with the package; copy it, edit it, and give it to --prices

Nothing here prints, and nothing here changes a job.
"""
