from __future__ import annotations

import numpy as np
import pytest
from skimage import metrics

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.evaluate_segmentation import EvaluateSegmentation


def scores_of(made: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Scores from the table of overlaps: pairs for the Rand index, entropies in bits for the
    variation of information.
    """
    kept = true != 0
    table = np.zeros((made.max() + 1, true.max() + 1))
    np.add.at(table, (made[kept], true[kept]), 1)
    n = kept.sum()
    pairs, in_made, in_true = ((t**2).sum() - n for t in (table, table.sum(1), table.sum(0)))
    p = table / n
    made_p, true_p = (np.broadcast_to(p.sum(a, keepdims=True), p.shape) for a in (1, 0))
    some = p > 0
    return {
        "rand_precision": pairs / in_made,
        "rand_recall": pairs / in_true,
        "rand_error": 1 - 2 * pairs / (in_made + in_true),
        "voi_split": -(p[some] * np.log2(p[some] / true_p[some])).sum(),
        "voi_merge": -(p[some] * np.log2(p[some] / made_p[some])).sum(),
    }


def test_scores(run_step) -> None:
    rng = np.random.default_rng(0)
    true, made = rng.integers(0, 6, (5, 8, 9)), rng.integers(0, 9, (5, 8, 9))
    made[true > 3] = 1
    scores = run_step(EvaluateSegmentation(), chunk=Chunk(made), groundtruth=Chunk(true)).values[
        "seg_score"
    ]
    assert scores == pytest.approx(scores_of(made, true))
    kept = true != 0
    error = metrics.adapted_rand_error(true[kept], made[kept], ignore_labels=())[0]
    voi = metrics.variation_of_information(true[kept], made[kept])
    assert [scores["rand_error"], scores["voi_split"], scores["voi_merge"]] == pytest.approx(
        [error, *voi]
    )


def test_ids_of_64_bits(run_step) -> None:
    true = np.random.default_rng(2).integers(1, 6, (5, 8, 9)).astype(np.uint64)
    scores = run_step(
        EvaluateSegmentation(), chunk=Chunk(true + np.uint64(2**63)), groundtruth=Chunk(true)
    ).values["seg_score"]
    assert scores["rand_error"] == pytest.approx(0)


def test_single_voxels_have_no_pairs(run_step) -> None:
    ids = Chunk(np.array([[[1, 2, 3]]]))
    scores = run_step(EvaluateSegmentation(), chunk=ids, groundtruth=ids).values["seg_score"]
    assert scores == {
        "rand_error": 0,
        "rand_precision": 1,
        "rand_recall": 1,
        "voi_split": 0,
        "voi_merge": 0,
    }


def test_the_ground_truth_with_other_ids_has_perfect_scores(run_step) -> None:
    true = np.random.default_rng(1).integers(0, 6, (5, 8, 9))
    scores = run_step(
        EvaluateSegmentation(output="s"), chunk=Chunk(true * 7 + 3), groundtruth=Chunk(true)
    ).values["s"]
    assert scores == pytest.approx(
        {"rand_error": 0, "rand_precision": 1, "rand_recall": 1, "voi_split": 0, "voi_merge": 0}
    )


def test_unsupported_chunks_are_refused(run_step) -> None:
    ids = Chunk(np.ones((2, 2, 2), np.uint32))
    for other, text in (
        (np.ones((2, 2, 3), np.uint32), "same box"),
        (np.ones((2, 2, 2)), "a segmentation is needed"),
        (np.zeros((2, 2, 2), int), "zero everywhere"),
    ):
        with pytest.raises(ChunkflowError, match=text):
            run_step(EvaluateSegmentation(), chunk=ids, groundtruth=Chunk(other))
