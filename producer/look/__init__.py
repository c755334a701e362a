"""What did the workers do with a job?

job.py             finds a job in the ledger
places.py          which records the boxes of a job have, by their names
survey.py          how many boxes are done, by listings of the ledger
records.py         the record of each box of a job, from the ledger and its archives
status.py          how many tasks are waiting, in flight, done, failed and dead
jobs.py            all jobs of a ledger, and how far each of them is
watch.py           the status again and again, until the job ends
notices.py         what people want to hear of a job while nobody looks at it
notify.py          sends notices to a webhook or an SNS topic
map_picture.py     the map of a job as a picture, for notices
wait.py            waits until nothing more happens to a job
dead_letters.py    reads the dead-letter queue and leaves every message in it
expiry.py          when SQS deletes messages that nobody has settled
failures.py        groups dead letters by the cause of their failure
problem.py         what can be wrong, or not known, about the output of a task
faulty.py          what a record says that no task can have done
new_failures.py    boxes that have failed since the last look
nets.py            which nets and plugins the boxes of a job come from
verify.py          compares the output in storage with the records of the tasks
sample.py          some of the boxes that are done, chosen at random
volume_check.py    the part of it that is about volumes and arrays
file_check.py      the part of it that is about files and objects
file_names.py      the files of a folder by the box that their names tell
left_last.py       which blocks still are what each write of a task left there
voxels.py          reads blocks, and compares them with the checksums of the record
times.py           compares the times of blocks with those of the record
absent.py          blocks that are not stored, and stand for what the task wrote
findings.py        what was found in blocks, and how those that can be read are read
volumes.py         opens volumes once: those of the output, and the input of a job
tally.py           how many blocks and files were compared
view_link.py       a page of Neuroglancer with the volumes of a chain as its layers
job_link.py        the same page with the boxes of a job, coloured by their state
box_layer.py       these boxes as a layer
box_voxels.py      in which voxels boxes are counted

Nothing here prints, and nothing here changes a job.
"""
