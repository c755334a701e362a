"""What do producer and worker agree on?

grid.py         the boxes of a job, cut from a region
box_index.py    the places of boxes in a job by their names
chosen_boxes.py  some of them: those that a mask leaves, or that a file lists
tree.py         the regions that join eight of them, and eight of these, up to the whole grid
z_curve.py      all of them, so that those that follow each other lie near each other
order.py        the orders in which boxes are sent
masks.py        the options that leave boxes out
masked.py       leaves out boxes where a mask is zero
box_file.py     reads boxes that a person has listed in a file
local_job.py    records a job that was not enqueued
volumes.py      the volumes that a chain loads and saves, by the facts of its operators
output.py       whether these boxes fit the blocks of the volumes that the job writes
share.py        tasks that are shares of the objects, not boxes
stage.py        a stage of a pipeline file, which is a job of its own
read_stages.py  the stages that a pipeline file describes, with all that is wrong with them
stages.py       loads the stages of a file, finds them, and tells what each needs
message.py      what travels on the queue: one JSON message for each box
sqs.py          the calls to SQS
many_messages.py  the same calls for many messages, ten in a request
inbox.py        receives messages, and refuses those that are malformed
delivery.py     one receive of a message, and the arithmetic of its attempts
hold.py         holds a task while SQS is away, by an object beside its record
storage_clock.py  the age of an object, by the clock of storage
claim.py        one of several processes does something for a job, until it ends or dies
deleter.py      deletes messages, as many in a request as wait
file_leases.py  lets processes that share a disk take the boxes of one list
lease.py        keeps a message hidden while its task runs, and settles it afterwards
written_paths.py  which paths a record may name: those that the chain writes
record.py       what the ledger holds of a task: what was done and written, or what failed and why
job_record.py   what it holds of a job: the boxes that were enqueued
ledger.py       one record for each task: what is done, what failed and why
many_objects.py  reads many of these records, by their listing
archive/        the records of a finished job in one file
sent_note.py    how far the sending of a job got
state.py        whether workers do the boxes of a job now: running, paused or cancelled
failing.py      boxes that failed for one cause, as workers noted them
heartbeat.py    what a worker tells of itself every few seconds
requests.py     what a worker asks of AWS for one task
cause.py        the cause of a failure, the same for all tasks that failed for it
clipped.py      how many values of a task an operator's output type could not hold
in_order.py     runs work in threads and yields the results in the order of the items
"""
