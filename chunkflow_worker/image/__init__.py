"""What do operators work on?

bbox.py         voxel geometry: vectors of three whole numbers, and half-open boxes
chunk.py        an array of voxels with its position, its voxel size and its meaning
labels.py       whether integers are ids of objects or greys
conversion.py   values as another type: those of an image saturate, ids stay what they are
units.py        units of length in nanometres
pyramid.py      a chunk with larger voxels, for the next mip level
points.py       positions in an image
synapses.py     presynaptic sites and the postsynaptic sites that belong to them
fragments.py    what one box yields of an object's mesh or skeleton: its voxels and its name
"""
