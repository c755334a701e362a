"""How does Neuroglancer show what is stored? Its layers and the state of its page, as JSON.

shading.py       how an image looks: the shader, its controls and the contrast
source.py        what Neuroglancer calls a stored volume
sample.py        some voxels of a volume, and where in it they are
layers.py        one layer, and where its data are
volume_layer.py  the layer of a volume, with the meshes and skeletons that it names
object_layer.py  the layer of a folder of meshes or skeletons
points_layer.py  the layer of a file of points or synapses
annotations.py   points, lines and boxes, within a state or as files
page.py          the state of a page: its layers, position and zoom; and its link
"""
