"""`fetched_share`: the share of the blocks that boxes read which workers fetch, and do not have.

A worker keeps the blocks that it used last. Neighbouring boxes share blocks, but only a worker that
does both fetches them once.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

from producer.cost.places import Edges, Places, sizes

_MOST = 300_000  # blocks that are followed


def fetched_share(
    places: Places, touched: Edges, block_bytes: int, cache_bytes: int, workers: int
) -> float:
    """Blocks fetched per block read, when workers take the boxes of a job in turn.

    touched: the blocks of each place, see `blocks`. The first boxes of the job stand for all.
    """
    room = cache_bytes // max(1, block_bytes)
    each = max(1, places.total(sizes(touched)) // max(1, places.count))
    boxes = places.begin(max(1, _MOST // each))
    kept: list[OrderedDict[tuple[int, ...], None]] = [OrderedDict() for _ in range(workers)]
    read = fetched = 0
    for number, place in enumerate(boxes):
        mine = kept[number % workers]
        for block in product(*(range(*touched[axis][n]) for axis, n in enumerate(place))):
            read += 1
            if block in mine:
                mine.move_to_end(block)
                continue
            fetched += 1
            mine[block] = None
            if len(mine) > room:
                mine.popitem(last=False)
    return fetched / read if read else 1.0
