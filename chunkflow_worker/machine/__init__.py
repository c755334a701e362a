"""What is this machine, and when does it go away?

clock.py      seconds that have passed, those included in which the machine stood still
cgroup.py     where the limits of this process's cgroup are written
cpu.py        number, name and instruction sets of the processors, and their quota
memory.py     memory in use, and the limit of the cgroup
heap.py       what the process has freed goes back to the system
gpus.py       the GPUs of the machine, and the devices that a list such as 0,1 selects
nvml.py       how much of the GPU's memory and time is used
zone.py       where in the cloud the machine is
spot.py       the interruption notice of an EC2 spot instance
gce.py        the preemption notice of a machine of Google Compute Engine
signals.py    the signals that stop a process
"""
