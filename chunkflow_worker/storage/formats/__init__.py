"""How are files that hold one chunk read, and what do they say of their voxels?

h5_file.py            HDF5 files: locks, filters, the datasets of voxels
h5_inside.py          what lies inside an HDF5 file, and not in another one
h5_chunks.py          chunks, checked before HDF5 unpacks them
h5_metadata.py        what they say of their voxels, and what ours do
tiff_file.py          TIFF files: images, and reading a part of one
tiff_page.py          a part of a page, from its tiles or strips
tiff_inside.py        what a TIFF file may not do: read other folders, unpack to more than it says
tiff_metadata.py      what they say of their voxels
tiff_create.py        new TIFF files, with metadata for ImageJ or OME
nrrd_file.py          NRRD files: the header, and reading a part
nrrd_metadata.py      what the headers of NRRD files say
png_header.py         what PNG pictures say
picture_size.py       how large a compressed picture is, by its header
section_numbers.py    the numbers of sections in the names of their files
table_file.py         the arrays of a file of points or synapses
"""
