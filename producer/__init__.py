"""Plans a job, sends its tasks to the queue, and checks what the workers did.

Read the rooms in this order:

plan/          which boxes a job has
cost/          what it will take: memory, requests, hours and dollars
simulate/      how it would go, with machines that start and are lost
send/          how its tasks reach the queue
figures/       what the records of a job say, in figures
look/          what the workers did with them
repair/        which tasks are done again, and which are not
stages/        how a job of several stages comes to its end
report/        how the job is told to those who were not there
page/          what a job looks like, in a browser
cli/           the commands of ``chunkflow-producer``
__main__.py    ``python -m producer``

The producer imports only the light part of the worker, so that its commands start fast.
"""
