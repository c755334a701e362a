"""Which tasks are done again, and which are not?

redrive.py    sends dead letters back to the queue
drop.py       deletes dead letters
decide.py     pauses, resumes or cancels a job
resend.py     chooses the boxes of a verified job that get a new message
"""
