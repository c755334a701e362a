"""What is broken in chunkflow 1.2.0, the peer: each defect has a test of ours that names it."""

from __future__ import annotations

import ast

from tests.support.paths import TESTS

NAMED = "Named defect of the peer: "
DEFECTS = """
It does not start:
- --help failed for want of a library that was not declared, and took over 3 s
- its package lacks its plugins
- generate-tasks crashed on numpy 2
- setup-env always raised a TypeError
- load-npy was defined twice, and the one that read points could not be reached
The queue:
- every message crashed the worker, and stayed hidden for an hour
- leases were not extended, so that a long task ran twice
- the task of a killed worker waited for an hour
- there were no dead letters, and a chunk that always fails crashed workers for ever
- it kept messages for 4 days, and then lost them silently
- --retry-times was ignored
- a skipped task was never deleted, and came back for ever
- deleting the message was an operator that users must remember
- one task's error ended the worker
- SIGTERM was not handled
- it sent in one thread, and ended at the first entry refused
- enqueueing again doubled every task
- a queue name with a typo created a new queue
- credentials were static keys alone, and no endpoint could be given
Resume and completeness:
- an empty volume counted as complete, so that a resumed job did nothing and reported success
- completion flags were local files only
- missing input was read as zeros, and its holes were silent
- the shortcut for zeros skipped inference, and nobody was told
- black blocks were deleted, which looks like a hole
Correctness:
- test-time augmentation flipped the batch and channel axes, and undid them in the wrong order
- nets ran with dropout and batch norm as in training
- weights that were saved on a GPU decided where the net ran
- batch sizes above 1 were refused
- an output patch smaller than the input patch, with a chunk mask, ended in NaN
- any output above 1.0001 aborted the chunk
- a host without CUDA crashed after inference, before saving
- 1.5 became 126, and the chunk itself was scaled
- save-h5 with a prefix wrote every task to the first task's file
- load-h5 with a prefix read the first task's file for all
- save-tif turned uint8 into float64
- save-tif wrote every task to one file
- save-points and its like wrote every task to one file
- load-zarr could not run
- load-skeleton failed on import
- download-mesh yielded nothing
- chunks not aligned with the mask's voxels were shifted
- without a volume, it overwrote --roi-stop, and it ignored --task-index-stop alone
- log-summary reported speeds 1,000 times too high
- log-summary failed on logs of different chains
Speed:
- load, compute and save were strictly in turn
- nothing was computed in reduced precision
"""


def test_each_defect_has_a_test_that_names_it() -> None:
    listed = {line.removeprefix("- ") for line in DEFECTS.splitlines() if line.startswith("- ")}
    named = {
        first_paragraph.removeprefix(NAMED).removesuffix(".")
        for path in TESTS.rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if (first_paragraph := _first_paragraph(node)).startswith(NAMED)
    }
    assert named == listed


def _first_paragraph(function: ast.FunctionDef) -> str:
    return " ".join((ast.get_docstring(function) or "").partition("\n\n")[0].split())
