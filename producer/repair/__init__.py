"""Which tasks are done again?

redrive.py    sends dead letters back to the queue
resend.py     chooses the boxes of a verified job that get a new message
"""
