from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.channel_voting import ChannelVoting


def test_the_highest_channel_wins_and_of_equal_ones_the_first(run_step) -> None:
    scores = np.random.default_rng(0).integers(0, 4, (5, 3, 4, 6)).astype(np.float32)
    voted = run_step(ChannelVoting(output_chunk_name="class"), chunk=Chunk(scores)).chunk("class")
    made = voted.array
    for place in np.ndindex(made.shape):
        values = [float(c[place]) for c in scores]
        assert made[place] == values.index(max(values)) + 1
    assert (made.dtype, voted.layer_type) == (np.uint8, "segmentation")


@pytest.mark.parametrize("shape", [(2, 2, 2), (256, 1, 1, 2)])
def test_fewer_than_2_and_more_than_255_channels_are_refused(run_step, shape) -> None:
    with pytest.raises(ChunkflowError, match="2 to 255 channels"):
        run_step(ChannelVoting(), chunk=Chunk(np.ones(shape)))
