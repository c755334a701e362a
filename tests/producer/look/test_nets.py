from __future__ import annotations

import pytest

from producer.look.nets import Net, Nets, has_file, net_lines
from tests.support.records import task_record

MODEL, WEIGHTS = "inference.convnet_model", "inference.convnet_weight_path"


def test_boxes_of_one_net_are_one_net() -> None:
    records = [task_record(str(i), models={MODEL: "aa"}, worker=f"w{i % 2}") for i in range(5)]
    assert Nets(records).found() == [Net({MODEL: "aa"}, 5, ["w0", "w1"])]


@pytest.mark.parametrize(
    ("others", "file"),
    [({MODEL: "bb", WEIGHTS: "11"}, MODEL), ({MODEL: "aa", WEIGHTS: "22"}, WEIGHTS)],
    ids=["model", "weights"],
)
def test_another_file_makes_another_net(others: dict[str, str], file: str) -> None:
    usual = {MODEL: "aa", WEIGHTS: "11"}
    nets = Nets(
        [
            task_record("0", models=others, worker="c"),
            *(task_record(str(n), models=usual, worker=w) for n, w in enumerate("abdeab", 1)),
        ]
    )
    assert nets.found() == [Net(usual, 6, ["a", "b", "d", "e"]), Net(others, 1, ["c"])]
    assert net_lines(nets.found()) == [
        f"6 boxes by a, b, d and 1 more: {file} {usual[file]}",
        f"1 box by c: {file} {others[file]}",
    ]


def test_boxes_that_no_net_worked_on_do_not_count() -> None:
    records = [
        task_record("0", models={MODEL: "aa"}),
        task_record("1", "skipped", models={MODEL: "bb"}),
        task_record("2", "failed", models={MODEL: "cc"}),
        task_record("3"),  # of a chain without a net, or of an earlier version
    ]
    assert [net.files for net in Nets(records).found()] == [{MODEL: "aa"}]
    assert net_lines([]) == []


@pytest.mark.parametrize(
    ("digest", "expected"), [("aa12", True), ("aa", True), ("11", True), ("12", False)]
)
def test_a_net_is_named_by_the_beginning_of_a_digest(digest: str, expected: bool) -> None:
    assert has_file(task_record("0", models={MODEL: "aa12", WEIGHTS: "1134"}), digest) is expected
