"""Workers that run a chain of operators on the boxes of a huge 3D image.

The rooms, in the order of the data's path. Each asks one question in its `__init__.py`, and lists
its files there:

job/          What do producer and worker agree on?
image/        What do operators work on?
volumes/      How are huge images, and the meshes and skeletons in them, kept in many files?
storage/      Where do files and objects lie, and how are they read and written?
pipeline/     How does a chain of operators run on a task?
operators/    What can be done to a task?
inference/    How does a ConvNet run on a chunk that is larger than its patch?
labels/       Which ids of different boxes are one object?
view/         How can people look at the values of a task?
report/       What do people and monitors learn about tasks?
service/      How does a worker process take messages, run their tasks, and settle them?
machine/      What is this machine, and when does it go away?
local_aws/    What stands in for AWS on this machine?
config/       What does the user want?
cli/          Which commands are there, and what do they print?
api.py        what authors of operators and models import
celery.py     what `celery -A chunkflow_worker worker` loads
errors.py     what can go wrong, and whether trying again helps

Imports run one way, see docs/architecture.md.
"""
