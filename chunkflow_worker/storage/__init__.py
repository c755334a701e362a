"""Where do voxels and small objects lie, and how are they read and written?

The flip between our zyx and CloudVolume's xyz happens here, and nowhere else.

path.py                    paths in one form, local ones among them
cloud.py                   CloudVolume and cloudfiles: credentials, buckets, errors
files.py                   small objects below a path
local_file.py              files on this machine: names, reading, writing whole files
file_kind.py               what a file is by its first bytes
voxel_metadata.py          what a file says of its voxels: size, place, kind, and what is not taken
axes.py                    the axes of a stored array, and its part as a chunk
h5_file.py                 HDF5 files: locks, filters, the datasets of voxels
h5_metadata.py             what they say of their voxels, and what ours do
tiff_file.py               TIFF files: images, and reading a part of one
tiff_page.py               a part of a page, from its tiles or strips
tiff_metadata.py           what they say of their voxels
tiff_create.py             new TIFF files, with metadata for ImageJ or OME
nrrd_file.py               NRRD files: the header, and reading a part
nrrd_metadata.py           what the headers of NRRD files say
png_header.py              what PNG pictures say
section_numbers.py         the numbers of sections in the names of their files
flags.py                   files named by a box whose existence marks its task
volume.py                  the interface of a stored image: blocks, alignment, checksums
precomputed.py             Neuroglancer's precomputed volumes
precomputed_info.py        their info file: read, and written for a new volume
precomputed_reading.py     what is taken from info files that other programs wrote
precomputed_encoding.py    their encodings: supported types, libraries
precomputed_local.py       their block files on a local disk
precomputed_shards.py      their blocks in shards
zarr.py                    Zarr and N5 arrays
zarr_group.py              which array the path of a group means
zarr_metadata.py           what a store says of an array: its own metadata and its groups'
zarr_geometry.py           the axes of an array, its voxel size and position
zarr_ome.py                these as OME-Zarr stores them
zarr_attributes.py         these as the programs of N5, funlib and others store them
zarr_coordinates.py        these as xarray stores them
zarr_kind.py               whether an array is a segmentation
zarr_open.py               a stored array, opened
zarr_create.py             new Zarr and N5 arrays in a group
zarr_address.py            the format in the address of a store
zarr_new.py                the metadata of new arrays
zarr_store.py              their folders, by tensorstore
mask.py                    the part of a mask volume that covers a box of smaller voxels
mesh.py                    meshes of volumes: their folder, and reading them
multires.py                meshes of several resolutions: simplified, cut and encoded
"""
