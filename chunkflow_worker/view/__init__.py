"""How can people look at the values of a task?

neuroglancer.py    a Neuroglancer page on this machine
napari.py          a window of napari
microviewer.py     the page of CloudVolume's viewer, for one chunk and a segmentation over it
look.py            stored volumes, meshes, skeletons and points as the layers of one page
file_server.py     folders of stored data, read only, over HTTP on this machine
shared_folder.py   finds a file in a folder that is served, packed or not
port.py            where on this machine pages and files are served
values.py          the kinds of values that Neuroglancer and napari show
"""
