"""How does SQS work on this machine?

protocol.py     the two protocols of SQS, JSON and query, as a WSGI application
sqs.py          the operations of SQS on its queues
answers.py      what clients get of queues and messages
batches.py      requests with several entries, each of which may fail alone
moves.py        tasks that move dead letters back
call.py         one request
queue.py        one queue: its messages are visible, delayed or in flight
message.py      one message, its digests and its receipt handles
attributes.py   the attributes of a queue, with their defaults and limits
ranked.py       keys in the order of a number, in logarithmic time
keeper.py       what is told of each change of queues and messages
store.py        keeps queues and messages in a file
refused.py      the error of a request that SQS refuses
"""
