"""Which tasks are done again?

redrive  sends dead letters back to the queue
resend   chooses the boxes of a verified job that get a new message
"""
