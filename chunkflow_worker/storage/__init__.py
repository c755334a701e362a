"""Where chunks are read and written. The flip between our zyx and CloudVolume's xyz happens here, and nowhere else."""
