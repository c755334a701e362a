"""How do the tasks reach the queue?

queue.py      creates and deletes a queue together with its dead-letter queue
tasks.py      the messages of a job, made shortly before they are sent
blocks.py     sends them block by block, in one process or in several
batches.py    sends messages in batches of ten
direct.py     makes the requests, with little CPU time
"""
