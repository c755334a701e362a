"""How are huge images, and the meshes and skeletons in them, kept in many files?

The flip between our zyx and CloudVolume's xyz happens here, and nowhere else.

open_volume.py       a stored image of any format, by its address
create_volume.py     a new stored image of any format, by its address
levels.py            the mip levels of a stored image, also those that a chain adds
volume.py            the interface of a stored image: blocks, alignment, checksums
block_cache.py       boxes whose blocks were read for other boxes before
precomputed/         Neuroglancer's precomputed volumes
zarr/                Zarr, OME-Zarr and N5 arrays
mask.py              the part of a mask volume that covers a box of smaller voxels
mesh.py              meshes of volumes: their folder, and reading them
skeletons.py         finished skeletons of volumes
multires.py          meshes of several resolutions: simplified, cut and encoded
shards.py            many small objects in few files, in Neuroglancer's sharded format
scene/               layers and states by which Neuroglancer shows what is stored
spatial_index.py     which meshes or skeletons lie in each cell of a volume
"""
