"""How does a chain of operators run on a task?

task.py        one box, and the named values that are made while it is worked on
operator.py    one step of a chain, declared as its own options
catalog.py     which operators there are, read from their files without importing them
chain.py       a configured chain: checked, and opened once per process
reach.py       how far each operator must read around the box of a task
run.py         runs a task through an open chain
saving.py      writes a chunk to a volume, in whole blocks, and notes a checksum
schema.py      the JSON Schema of a pipeline file
"""
