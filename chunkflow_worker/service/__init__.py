"""How does a worker process take messages, run their tasks, and settle them?

app.py          settings, pipeline, queue and worker become one Celery application
transport.py    kombu's SQS transport, which receives through the poller
poller.py       receives messages in a thread of its own, and outlives every fault of SQS
places.py       how many tasks are worked on at once, and how many are being recorded
pool.py         the stages that the worker takes, and their queue
worker.py       runs the tasks of the process, settles their messages, and stops
in_hand.py      the tasks in hand, with their leases
guard.py        watches the poll loop, time and memory, and ends the process when it must
stage_work.py   what the worker holds for one stage of its pipeline file
open_chains.py  the chains that are open, and when they are opened and closed
handler.py      one delivery in, one box done
attempt.py      one try of a task, and the record that follows from it
jobs.py         which boxes belong to a job
control.py      which jobs are paused or cancelled, as this worker knows it
breaker.py      pauses a job whose boxes fail for one cause
outputs.py      what a worker may not write to: relative paths, and its own memory
patience.py     waits while storage is away
heartbeat.py    what the worker is doing, in a small object beside the records
metrics.py      the metrics that the settings name, for CloudWatch and Prometheus
health.py       the state of the worker in a small file, for probes
supervise.py    one worker process for each GPU, started again when it dies
"""
