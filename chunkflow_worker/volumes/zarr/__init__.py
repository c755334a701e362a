"""How are Zarr, OME-Zarr and N5 arrays read and written?

volume.py         one array
open.py           a stored array, opened
keys.py           names of the objects that hold the blocks of an array
group.py          which array the path of a group means
address.py        the format in the address of a store
metadata.py       what a store says of an array: its own metadata and its groups'
geometry.py       the axes of an array, its voxel size and position
ome.py            these as OME-Zarr stores them
attributes.py     these as the programs of N5, funlib and others store them
coordinates.py    these as xarray stores them
kind.py           whether an array is a segmentation
create.py         new arrays in a group
new.py            the metadata of new arrays
store.py          the folders of arrays, by tensorstore
kvstore.py        what tensorstore calls a folder: driver, region, credentials
read_listed.py    reads many small objects of S3 by tensorstore
credentials.py    AWS credentials for tensorstore
"""
