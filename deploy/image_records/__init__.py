"""What is in an image, and what it was made from: `make images` writes both beside each image.

content.py      lists the packages that are installed in an image
bom.py          a bill of materials in CycloneDX's format
provenance.py   the sources of a build, as an in-toto statement with SLSA's predicate

Only Python's standard library is used, so that Docker and Python are enough to build the images.
"""
