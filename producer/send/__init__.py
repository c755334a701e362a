"""How do the tasks reach the queue?

queue.py      creates and deletes a queue together with its dead-letter queue
batches.py    sends messages in batches of ten
direct.py     makes the requests, with little CPU time
"""
