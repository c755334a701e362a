"""Where do files and objects lie, and how are they read and written?

formats/             files that hold one chunk: HDF5, TIFF, NRRD, PNG
path.py              paths in one form, local ones among them
cloud.py             CloudVolume and cloudfiles: credentials, buckets, errors
bucket.py            a bucket of S3: whether it exists, its region, its keys
mended_cloudfiles.py cloudfiles, mended: which ETags are MD5s, what is tried again, its waits
files.py             small objects below a path
listed_objects.py    sizes and times of many objects, by a listing
s3_listing.py        lists a bucket of S3, with the work of a few texts for each object
object_reader.py     an object as a file that is read in parts
local_file.py        files on this machine: names, reading, writing whole files
fence.py             what every write asks first: whether it may still be made
at_once.py           the same work on many things at the same time
written_file.py      the files and objects that are written while a task runs, noted for its record
note_files.py        how code that is not ours says which files it wrote
create_once.py       makes an object unless there is one
file_kind.py         what a file is by its first bytes
json_text.py         JSON that others wrote
largest.py           bounds on what files ask for, checked before memory is taken
unpacking.py         objects that cloudfiles unpacks, up to a bound
gzipped.py           gzip and CRC-32 by the fastest libraries
voxel_metadata.py    what a file says of its voxels: size, place, kind, and what is not taken
axes.py              the axes of a stored array, and its part as a chunk
flags.py             files named by a box whose existence marks its task
"""
