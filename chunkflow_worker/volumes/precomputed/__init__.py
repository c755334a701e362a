"""How are Neuroglancer's precomputed volumes read and written?

volume.py          one mip level of a volume
info.py            the info file: read, and written for a new volume
reading.py         what is taken from info files that other programs wrote
encoding.py        encodings: supported types, libraries
block_header.py    what a block says of itself, before it is decoded
decoder.py         blocks that are decoded in a process of their own
local.py           block files on a local disk
shards.py          which blocks lie in which shard
plain_blocks.py    blocks that are objects of their own: read and written
sharded_blocks.py  blocks of which a shard holds many: the same
compression.py     how the bytes of blocks are compressed
codec.py           the voxels of a block as the bytes of its encoding
graphene.py        segmentations of a server, which are only read
"""
