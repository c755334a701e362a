"""What did the workers do with a job?

job           finds a job in the ledger
status        how many tasks are waiting, in flight, done, failed and dead
watch         the status again and again, until the job ends
dead_letters  reads the dead-letter queue and leaves every message in it
failures      groups dead letters by the cause of their failure
problem       what can be wrong with the output of a task
verify        compares the output in storage with the records of the tasks

Nothing here prints, and nothing here changes a job.
"""
