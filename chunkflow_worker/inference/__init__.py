"""ConvNet inference on chunks larger than a patch.

lattice.py    where the patches of a box lie (pure)
blend.py      how overlapping patches are weighted (pure)
engine.py     what computes a patch: the protocol, and the identity engine
torch_engine.py, universal_engine.py    further engines
blending.py   patches through an engine, blended slab by slab on its device
"""
