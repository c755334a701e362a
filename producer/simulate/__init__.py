"""How would it go?

assumptions.py    what is assumed of tasks, machines and the queue: the options of `simulate`
durations.py      how long each task takes
interruptions.py  when machines are taken away
messages.py       the messages of the job, as SQS hides, shows and gives them up
machine.py        a machine: when it starts, stops and ends, and what its places did
fleet.py          starts and replaces machines, and lets their places do tasks
run.py            runs a job on paper, from the first machine to the last task
result.py         what a run took, and what of it was wasted
cost.py           what a run would have cost
all_runs.py       runs for several fleets and interruptions
notes.py          limits that the runs reach, and settings that cost work

Nothing here prints, and nothing here asks AWS.
"""
