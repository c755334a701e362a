"""Which ids of different boxes are one object?

layout.py       what all tasks of a labelling share: its grid, its links, where an id was made
objects.py      rows of a table of objects, and how rows of one object become one
leaf.py         what one box yields: ids of its own, its objects, and the labels at its faces
measure.py      sizes and places of all labels of a box
faces.py        the labels at the faces of a box, for its neighbours
touching.py     ids on both sides of a face whose voxels touch
overlapping.py  ids that two boxes gave to the same voxels
links.py        the pairs of ids that join a box to its neighbours
node.py         what a box or a region passes up the tree
gather.py       reads what a region joins: its children, and the links of boxes
unite.py        joins the children of a region, and answers each of them
find_ids.py     where ids are among others
answer.py       what a region tells its children about their ids
folder.py       the files of a labelling
rows.py         the rows of the table that a region writes
table.py        the columns of a table of objects, and its files
"""
