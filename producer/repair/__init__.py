"""Which tasks are done again, and which are not?

redrive.py    sends dead letters back to the queue
drop.py       deletes dead letters
decide.py     pauses, resumes or cancels a job
archive.py    packs the records of a job, and then may delete them
resend.py     chooses the boxes of a verified job that get a new message
"""
