"""How does a ConvNet run on a chunk that is larger than its patch?

lattice.py       where the patches of a box lie
patching.py      the options of a lattice, and the image that the patches read
weights.py       how much each voxel of a patch counts in the mean
blending.py      the patches of a box run by an engine, and blended on its device
reduction.py     what the blended channels become before they leave the device
augment.py       the mean over orientations of a patch
device_use.py    what a task took of the device: seconds, memory, utilization
engine.py        what an engine is asked to run, and what it does
host_engine.py   the base of engines that take and return numpy arrays
openvino.py      a net compiled by OpenVINO, which runs it on the CPU
same_output.py   whether another library gives the output of the net itself, and what is said if not
steady.py        a net gives one answer for one input
net_shapes.py    what goes into a net and comes out of it, checked
model_kind.py    which model files a framework reads
model_file.py    a user's Python file, imported
user_code.py     what went wrong in it
arrays.py        arrays in the memory of the device that blends patches
host_arrays.py   the same in the host's memory, with numpy
plan.py          what inference will need: patches, utilization, memory
fit.py           the best box whose memory stays below a limit
sizing.py        the box size of a job
engines/         one file per engine
torch_net/       how a net of PyTorch is loaded, made fast, and run
"""
