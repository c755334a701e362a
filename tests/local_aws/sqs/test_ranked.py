from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chunkflow_worker.local_aws.sqs.ranked import Ranked

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 8), st.integers(0, 5)),
        st.tuples(st.just("discard"), st.integers(0, 8), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.integers(0, 5)),
    ),
    max_size=300,
)


@given(STEPS)
def test_it_does_what_a_sorted_list_does(steps: list[tuple[str, int, int]]) -> None:
    ranked, model = Ranked(), dict[int, int]()
    for step, key, rank in steps:
        if step == "put":
            ranked.put(key, rank)
            model[key] = rank
        elif step == "discard":
            ranked.discard(key)
            model.pop(key, None)
        else:
            first = min(((r, k) for k, r in model.items()), default=None)
            expected = first[1] if first and first[0] <= rank else None
            assert ranked.pop_until(rank) == expected
            model.pop(-1 if expected is None else expected, None)
        assert len(ranked) == len(model)
        assert ranked.lowest_rank() == min(model.values(), default=None)
        assert all(key in ranked for key in model)


def test_ranks_that_changed_often_take_no_memory() -> None:
    ranked = Ranked()
    ranked.put(0, -1)  # stays at the top
    for rank in range(10_000):
        ranked.put(1, rank)
    assert len(ranked._heap) < 200
