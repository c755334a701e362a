"""How does a chain of operators run on a task?

task.py        one box, and the named values that are made while it is worked on
operator.py    one step of a chain, declared as its own options
chain.py       a configured chain: checked, and opened once per process
needed_box.py  the box that an operator must produce, so that the later ones have what they need
own_code.py    where in the user's own code an error arose
run.py         runs a task through an open chain
early.py       writes the finished sections of a chunk while the others are still computed
noted.py       the files that an operator writes, noted for its record
unwritten.py   what a task that is skipped leaves unwritten, noted for its record
model_files.py digests of the files of nets and plugins
estimate.py    what an operator says before a run about the time and memory of a task
file_reader.py what the operators that read files have in common
volume_reader.py  what the operators that read volumes have in common
volume_writer.py  what the operators that write volumes have in common
volume_step.py    saves a chunk in a volume, from its first finished sections on
volume_creator.py what the operators that create volumes have in common
converter.py   what the operators that give a chunk another type have in common
cut_objects.py warns of fragments that do not meet
saving.py      writes a chunk to a volume, in whole blocks, and notes their checksums and times
sharding.py    packs finished meshes or skeletons into shards; a task is a range of shards
region.py      the region of a labelling that a task joins
shares.py      the fragments that a task joins, which may be a share of all objects
schema.py      the JSON Schema of a pipeline file
"""
