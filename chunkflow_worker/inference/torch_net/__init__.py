"""How is a net of PyTorch loaded, made fast, and run on a device?

load.py            a net from a Python file, TorchScript or torch.export, and its weights
archive.py         what a file is, by its content
checkpoint.py      what a file with weights holds
fitting.py         the weights in a checkpoint that fit a net
prepare.py         all that follows, put together: the net as it will run on its device
trial.py           a batch of noise: how a net runs, and whether a changed one gives the same
outputs.py         which of several outputs of a net is taken
precision.py       which number types a device computes fast
conversion.py      what nets are converted from for other libraries
openvino_net.py    a net that OpenVINO runs on the CPU
tensorrt_net.py    a net that TensorRT runs on an NVIDIA GPU
streamline.py      batch norms folded into convolutions; memory reused
layout.py          the order of axes in memory
sections.py        layers that do not look along z, computed in 2D
width.py           channels added to fill matrix instructions
acceleration.py    torch.compile and CUDA graphs
forward.py         one batch through the net, with pre_process and post_process
arrays.py          blending on the net's device
"""
