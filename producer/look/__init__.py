"""What did the workers do with a job?

job.py             finds a job in the ledger
status.py          how many tasks are waiting, in flight, done, failed and dead
watch.py           the status again and again, until the job ends
dead_letters.py    reads the dead-letter queue and leaves every message in it
expiry.py          when SQS deletes messages that nobody has settled
failures.py        groups dead letters by the cause of their failure
problem.py         what can be wrong with the output of a task
faulty.py          what a record says that no task can have done
nets.py            which nets the boxes of a job come from
verify.py          compares the output in storage with the records of the tasks

Nothing here prints, and nothing here changes a job.
"""
