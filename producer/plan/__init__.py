"""What will be done?

pipeline_file  the parts of a pipeline file that a producer needs
job            a job before it is sent: its boxes and its record
record         the record of a job, written to the ledger before the job is sent
"""
