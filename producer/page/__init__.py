"""What does a job look like, in a browser?

serve.py           serves the page on this machine until it is interrupted
app.py             the addresses of the page, and what each of them answers
guard.py           which requests are answered, and what a browser may do with the answers
assets.py          the files of the page
feed.py            looks again and again, and tells every open page what changed
job_watch.py       one look at a job: the status, and the state of each box
snapshot.py        what a look found, and the part of it that is sent
box_states.py      a number for the state of each box, and how many of them are sent at once
operator_times.py  how the seconds of each operator change over time
usage.py           what the job has used, and how much of it left nothing
read_records.py    what the records of done boxes say, as far as they were read
failed_boxes.py    what the records of failed boxes say, grouped by cause
workers.py         what workers say of themselves
history.py         how many boxes were done when
box_report.py      all that is known of one box
neuroglancer.py    all boxes over the volumes of the chain, in Neuroglancer
preview.py         a picture of a section of a box
actions.py         what the page can do to a job, where that is allowed

A page changes nothing unless it was started to do so.
"""
