"""Workers that run a chain of operators on the boxes of a huge 3D image.

Read the files in the order of the data's path:

    message.py     what arrives from the queue
    bbox.py        the box it names; grid.py is where boxes come from
    chunk.py       the voxels of a box
    pipeline.py    the chain of operators (operator.py, operators/, inference/)
    storage/       where chunks are read and written
    ledger.py      the record of the task
    metrics/       what CloudWatch is told
    handler.py     all of the above for one message
    patience.py    what becomes of it while storage is away
    lease.py       how the message is held meanwhile
    transport.py   how it is received
    worker.py      the tasks that one process has in hand
    app.py         all of it put together for Celery
"""
