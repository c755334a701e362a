"""Where do voxels and small objects lie, and how are they read and written?

The flip between our zyx and CloudVolume's xyz happens here, and nowhere else.

path.py                    paths in one form, local ones among them
cloud.py                   CloudVolume and cloudfiles: credentials, buckets, errors
files.py                   small objects below a path
local_file.py              files on this machine: names, reading, writing whole files
flags.py                   files named by a box whose existence marks its task
volume.py                  the interface of a stored image: blocks, alignment, checksums
precomputed.py             Neuroglancer's precomputed volumes
precomputed_info.py        their info file: read, and written for a new volume
precomputed_reading.py     what is taken from info files that other programs wrote
precomputed_encoding.py    their encodings: supported types, libraries
precomputed_local.py       their block files on a local disk
precomputed_shards.py      their blocks in shards
zarr.py                    Zarr and N5 arrays
zarr_create.py             new Zarr and N5 arrays in a group
zarr_address.py            the format in the address of a store
zarr_metadata.py           their metadata: axes, voxel sizes, OME-Zarr
zarr_store.py              their folders, by tensorstore
mask.py                    the part of a mask volume that covers a box of smaller voxels
mesh.py                    meshes of volumes: their folder, and reading them
multires.py                meshes of several resolutions: simplified, cut and encoded
"""
