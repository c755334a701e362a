"""How do the tasks reach the queue?

queue    creates and deletes a queue together with its dead-letter queue
batches  sends messages in batches of ten
"""
