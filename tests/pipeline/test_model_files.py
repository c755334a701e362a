"""Digests of the files that nets are loaded from, as records hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.operators.threshold import Threshold
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.model_files import file_digest, model_digests
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task


class Tracker(Operator):
    """Loads a net from one file; an operator of another package may."""

    models: ClassVar[tuple[str, ...]] = ("checkpoint",)
    op: Literal["tracker"] = "tracker"
    checkpoint: str | None = None

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        yield lambda task: None


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_bytes(b"InstantiatedModel = 1\n")
    return path


def inference(**options: str) -> Inference:
    sizes = {"input_patch_size": (4, 8, 8), "output_patch_overlap": (0, 0, 0)}
    return Inference.model_validate({"framework": "pytorch"} | sizes | options)


def test_a_digest_is_the_beginning_of_sha256(net: Path) -> None:
    assert file_digest(net) == hashlib.sha256(b"InstantiatedModel = 1\n").hexdigest()[:12]


def test_a_folder_has_a_digest_of_its_names_and_files(tmp_path: Path) -> None:
    """Compiled nets of PZNet are folders."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "znet.so").write_bytes(b"1")
    first = file_digest(tmp_path)
    (tmp_path / "a" / "znet.so").write_bytes(b"2")
    changed = file_digest(tmp_path)
    (tmp_path / "a" / "znet.so").rename(tmp_path / "a" / "other.so")
    assert len({first, changed, file_digest(tmp_path)}) == 3


def test_the_digests_of_model_and_weights(net: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"weights")
    operator = inference(convnet_model=str(net), convnet_weight_path=str(weights))
    assert model_digests("inference-2", operator) == {
        "inference-2.convnet_model": file_digest(net),
        "inference-2.convnet_weight_path": hashlib.sha256(b"weights").hexdigest()[:12],
    }


def test_operators_without_a_model_and_options_without_a_file_have_none(net: Path) -> None:
    assert model_digests("threshold", Threshold()) == {}
    assert model_digests("tracker", Tracker()) == {}
    assert model_digests("inference", inference(convnet_model="missing.py")) == {}
    assert list(model_digests("inference", inference(convnet_model=str(net)))) == [
        "inference.convnet_model"
    ]


def test_the_fact_of_any_operator_is_heard(net: Path) -> None:
    chain = Pipeline((Tracker(checkpoint=str(net)), Tracker(checkpoint=str(net), name="again")))
    task = Task()
    with chain.open() as opened:
        net.write_bytes(b"changed while it runs")
        opened.run(task)
    digest = hashlib.sha256(b"InstantiatedModel = 1\n").hexdigest()[:12]
    assert task.models == {"tracker.checkpoint": digest, "again.checkpoint": digest}


def test_a_fact_that_names_no_option_is_an_error_of_the_author() -> None:
    with pytest.raises(TypeError, match="Wrong has no option 'weights'"):

        class Wrong(Tracker):
            models: ClassVar[tuple[str, ...]] = ("weights",)
