"""neuroglancer: the command. tests/view/test_neuroglancer.py checks the page itself."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators import neuroglancer as operator
from chunkflow_worker.operators.neuroglancer import Neuroglancer
from chunkflow_worker.pipeline.chain import Pipeline

IMAGE = Chunk(np.zeros((2, 3, 4), np.uint8), Vec3(1, 2, 3), (40.0, 8.0, 4.0))


@pytest.mark.parametrize("key", ["Enter", "Ctrl-C"])
def test_the_chain_continues_after_a_key(tmp_path: Path, key: str) -> None:
    """Enter works on a terminal; Ctrl-C works also without one."""
    chain = f"create-chunk -s 4 5 6 neuroglancer save-npy -f {tmp_path}/a.npy"
    keyboard, terminal = pty.openpty()
    main = "from chunkflow_worker.cli.chunkflow import main; main()"
    command = [sys.executable, "-c", main, *chain.split()]
    stdin = terminal if key == "Enter" else subprocess.DEVNULL
    try:
        with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = re.fullmatch(
                r"chunk of .*: (http://127.0.0.1:\d+/v/\w+/)\n", process.stdout.readline()
            )
            assert process.stdout.readline() == "Enter or Ctrl-C continues\n"
            assert found is not None
            with urlopen(found[1], timeout=20) as page:
                assert b"<html" in page.read().lower()
            assert not list(tmp_path.iterdir())
            if key == "Enter":
                os.write(keyboard, b"\n")
            else:
                process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert np.load(tmp_path / "a.npy").shape == (4, 5, 6)


def test_shows_the_named_values_with_the_given_voxel_size(run_step, monkeypatch, capsys) -> None:
    states: list[Any] = []

    def look() -> None:
        import neuroglancer

        [viewer] = neuroglancer.server.global_server.viewers.values()
        states.append(viewer.state.to_json())

    monkeypatch.setattr(operator, "_wait_for_the_user", look)
    ids = Chunk(np.ones((2, 3, 4), np.uint32), Vec3(1, 2, 3), (40.0, 8.0, 4.0), "segmentation")
    step = Neuroglancer(inputs="em, objects", voxel_size=(30, 7.5, 2))
    run_step(step, bbox=BoundingBox.parse("1-3_2-5_3-7"), em=IMAGE, objects=ids, other=IMAGE)
    [state] = states
    assert [(layer["name"], layer["type"]) for layer in state["layers"]] == [
        ("em", "image"),
        ("objects", "segmentation"),
    ]
    assert {name: pytest.approx(scale) for name, (scale, _) in state["dimensions"].items()} == {
        "x": 2e-9,
        "y": 7.5e-9,
        "z": 3e-8,
    }
    assert capsys.readouterr().out.startswith("em, objects of 1-3_2-5_3-7: http://127.0.0.1:")


def test_the_page_is_served_on_the_given_port(run_step, monkeypatch, capsys) -> None:
    monkeypatch.setattr(operator, "_wait_for_the_user", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: can't be used"):
            run_step(Neuroglancer(port=port), chunk=IMAGE)
    run_step(Neuroglancer(port=port), chunk=IMAGE)
    assert f"http://127.0.0.1:{port}/v/" in capsys.readouterr().out


def test_missing_values_are_an_error(run_step) -> None:
    with pytest.raises(ConfigError, match="reads 'b', which no operator before it makes"):
        Pipeline.parse(
            {"operators": [{"op": "create-chunk"}, {"op": "neuroglancer", "inputs": "chunk,b"}]}
        )
    with pytest.raises(ChunkMismatch, match="there is no value named 'b'; made so far: chunk"):
        run_step(Neuroglancer(inputs="chunk,b"), chunk=IMAGE)


def test_the_error_for_a_missing_library_names_the_extra(run_step, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    with pytest.raises(
        ConfigError,
        match=r'neuroglancer: is needed .* not installed\n +pip install "chunkflow-worker\[view\]"',
    ):
        run_step(Neuroglancer(), chunk=IMAGE)
