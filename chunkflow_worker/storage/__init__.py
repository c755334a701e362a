"""Where do voxels and small objects lie, and how are they read and written?

The flip between our zyx and CloudVolume's xyz happens here, and nowhere else.

precomputed/         Neuroglancer's precomputed volumes
zarr/                Zarr, OME-Zarr and N5 arrays
formats/             files that hold one chunk: HDF5, TIFF, NRRD, PNG
path.py              paths in one form, local ones among them
cloud.py             CloudVolume and cloudfiles: credentials, buckets, errors
bucket.py            a bucket of S3: whether it exists, its region, its keys
mended_cloudfiles.py cloudfiles, mended: which ETags are MD5s, what is tried again
files.py             small objects below a path
local_file.py        files on this machine: names, reading, writing whole files
fence.py             what every write asks first: whether it may still be made
written_file.py      the files and objects that are written while a task runs, noted for its record
note_files.py        how code that is not ours says which files it wrote
file_kind.py         what a file is by its first bytes
json_text.py         JSON that others wrote
largest.py           bounds on what files ask for, checked before memory is taken
unpacking.py         objects that cloudfiles unpacks, up to a bound
open_volume.py       a stored image of any format, by its address
create_volume.py     a new stored image of any format, by its address
levels.py            the mip levels of a stored image, also those that a chain adds
volume.py            the interface of a stored image: blocks, alignment, checksums
voxel_metadata.py    what a file says of its voxels: size, place, kind, and what is not taken
axes.py              the axes of a stored array, and its part as a chunk
flags.py             files named by a box whose existence marks its task
mask.py              the part of a mask volume that covers a box of smaller voxels
mesh.py              meshes of volumes: their folder, and reading them
multires.py          meshes of several resolutions: simplified, cut and encoded
shards.py            many small objects in few files, in Neuroglancer's sharded format
spatial_index.py     which meshes or skeletons lie in each cell of a volume
"""
