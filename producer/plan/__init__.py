"""What will be done?

pipeline_file.py    the parts of a pipeline file that a producer needs
job.py              a job before it is sent: its boxes and its record
refused.py          why workers would refuse the boxes of a job
record.py           the record of a job, written to the ledger before the job is sent
tree_plan.py        the tasks of a stage whose tasks are a tree, wave by wave
verified_note.py    notes that the output of a job was read back, and when they go
"""
