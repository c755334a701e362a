"""plugin"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import (
    ChunkMismatch,
    ConfigError,
    OutOfMemory,
    PermanentError,
    RetryableError,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
from chunkflow_worker.operators.plugin import Plugin
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOUNDS = BoundingBox.parse("-9-90_0-90_0-90")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Plugin]:
    """Write the file of a plugin and create its operator."""

    def make(
        code: str, inputs: str | None = "chunk", outputs: str | None = "chunk", **options: Any
    ) -> Plugin:
        path = tmp_path / "mine.py"
        path.write_text(code)
        names = {"input_names": inputs, "output_names": outputs}
        return Plugin(**({"file": str(path)} | names | options))

    return make


def chunk(array: Any = None, **options: Any) -> Chunk:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) if array is None else array
    defaults = {"voxel_offset": Vec3(1, 2, 3), "voxel_size": (40.0, 4.0, 4.0), "bounds": BOUNDS}
    return Chunk(array, **(defaults | options))


def test_an_array_becomes_a_chunk_with_the_offset_of_the_input(run_step, plugin) -> None:
    double = plugin("def execute(c):\n    return c.array * 2.0")
    made = run_step(double, chunk=chunk()).chunk("chunk")
    assert made.array.ravel().tolist() == [2.0 * n for n in range(60)]
    assert made.voxel_offset == Vec3(1, 2, 3)
    assert made.voxel_size == (40.0, 4.0, 4.0)
    assert made.bounds == BOUNDS


@pytest.mark.parametrize("result", ["a.array[:, 1:-1, 2:-2]", "a.array[None, :, 1:-1, 2:-2]"])
def test_a_smaller_array_is_centred_in_the_input(run_step, plugin, result: str) -> None:
    made = run_step(plugin(f"def execute(a):\n    return {result}"), chunk=chunk()).chunk("chunk")
    assert str(made.bbox) == "1-4_3-5_5-6"
    assert np.array_equal(made.array.reshape(3, 2, 1), chunk().cutout(made.bbox).array)


@pytest.mark.parametrize("result", ["a.array[:, 1:]", "np.zeros((5, 4, 5))"])
def test_an_array_whose_offset_is_unknown_is_refused(run_step, plugin, result: str) -> None:
    code = f"import numpy as np\ndef execute(a):\n    return {result}"
    with pytest.raises(
        ChunkMismatch,
        match=r"result 'chunk' of .*mine.py has shape \(.*neither all nor the middle.*1-4_2-6_3-8",
    ):
        run_step(plugin(code), chunk=chunk())
    with pytest.raises(ChunkMismatch, match="no input chunk gives its position"):
        run_step(plugin(code, "x"), x=Other())


class Other:
    """A value that has an array but is not a chunk."""

    array = np.zeros((3, 4, 5))


CHUNK = """
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.points import Points
def execute(image, other, nothing):
    assert nothing is None and str(image.bbox) == "1-4_2-6_3-8"
    return RETURNED
"""


@pytest.mark.parametrize("brackets", ["(%s,)", "[%s]"])
def test_several_results_of_different_types(run_step, plugin, brackets: str) -> None:
    results = (
        "image.array + other.array, Chunk(image.array[:1], Vec3(7, 8, 9)), "
        "Points(image.array[0, :, :3]), {'a': 1}"
    )
    code = CHUNK.replace("RETURNED", brackets % results)
    task = run_step(
        plugin(code, "image, chunk ,None", "sum, part,points , facts"), image=chunk(), chunk=chunk()
    )
    assert task.chunk("sum").array.ravel().tolist() == [2 * n for n in range(60)]
    assert task.chunk("part").voxel_offset == (7, 8, 9)
    assert isinstance(task.values["points"], Points)
    assert task.values["facts"] == {"a": 1}
    assert set(task.values) == {"image", "chunk", "sum", "part", "points", "facts"}


@pytest.mark.parametrize(
    ("returned", "outputs", "message"),
    [
        ("c, c", "a", r"returned 2 results \(Chunk, Chunk\), and output_names names 1 \(a\)"),
        ("c", "a,b", r"returned 1 results \(Chunk\), and output_names names 2 \(a, b\)"),
        ("None", "a", r"returned 0 results \(None\), and output_names names 1"),
        ("c.array", None, r"returned 1 results \(ndarray\), and output_names names none"),
    ],
)
def test_a_wrong_number_of_results_is_an_error(
    run_step, plugin, returned: str, outputs: str, message: str
) -> None:
    with pytest.raises(ChunkMismatch, match=message):
        run_step(plugin(f"def execute(c):\n    return {returned}", outputs=outputs), chunk=chunk())


ARGS = "def execute(c, %s):\n    return {'got': (%s)}"


@pytest.mark.parametrize(
    ("parameters", "got", "args", "expected"),
    [
        ("args", "args,", "some text", ("some text",)),
        ("args", "args,", "a=3", ("a=3",)),  # the function has no parameter a
        ("args=None", "args,", None, (None,)),
        ("a, b=1, d=2", "a, b, d", "a=(1,2); b=x=y;", ((1, 2), "x=y", 2)),
        ("a, b=1", "a, b", "a='3';b=0.5", ("3", 0.5)),
        ("**k", "k,", "a=3", ({"a": 3},)),
        ("*, args", "args,", "--a=3", ("--a=3",)),
        ("args=None, a=0", "args, a", "a=3", (None, 3)),
    ],
)
def test_args_are_parsed_as_keywords_or_passed_as_text(
    run_step, plugin, parameters: str, got: str, args: str, expected: tuple
) -> None:
    task = run_step(plugin(ARGS % (parameters, got), outputs="out", args=args), chunk=chunk())
    assert task.values["out"]["got"] == expected


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        (
            "def execute(a, b):\n    pass",
            {},
            r"execute\(a, b\) of .*mine.py:1 does not take 1 inputs: missing .*'b'",
        ),
        (
            "\ndef execute(a):\n    pass",
            {"args": "x"},
            r"mine.py:2 does not take 1 inputs and --args 'x'.*unexpected.*'args'",
        ),
        ("def execute():\n    pass", {}, "too many positional"),
        ("x = 1", {}, "mine.py defines no function execute"),
        ("execute = 1", {}, "mine.py defines no function execute"),
        ("x = 1\ny = 1 +\n", {}, r"mine.py:2: SyntaxError"),
        (
            "x = 1\n\nimport no_such_module",
            {},
            r"mine.py:3: ModuleNotFoundError: No module named 'no_such_module'",
        ),
    ],
)
def test_a_broken_file_is_refused_before_the_first_task(
    run_step, plugin, code: str, options: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run_step(plugin(code, name="sharpen", **options))
    assert caught.value.subject == "sharpen"


FAILS = "def helper(x):\n    return 1 / x\n\ndef execute(c):\n    return helper(0)\n"


def test_an_error_names_file_line_operator_and_box(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(FAILS)
    chain = [
        {"op": "create-chunk", "size": [2, 2, 2]},
        {
            "op": "plugin",
            "file": f"{tmp_path}/bad",
            "input_names": "chunk",
            "output_names": "chunk",
        },
    ]
    box = BoundingBox.parse("0-2_0-2_0-2")
    with (
        Pipeline.parse({"operators": chain}).open() as opened,
        pytest.raises(
            RetryableError,
            match=r"plugin on 0-2_0-2_0-2: .*/bad\.py:2: ZeroDivisionError: division by zero",
        ),
    ):
        opened.run(Task(bbox=box))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("errors.DataMissing('gone')", PermanentError),
        ("errors.OutOfMemory('m')", OutOfMemory),
        ("SkipTask('dull')", SkipTask),
    ],
)
def test_chunkflow_errors_raised_by_a_plugin_keep_their_type(
    run_step, plugin, raised: str, kind: type
) -> None:
    code = (
        "from chunkflow_worker import errors\n"
        "from chunkflow_worker.pipeline.task import SkipTask\n"
        f"def execute(c):\n    raise {raised}"
    )
    with pytest.raises(kind, match=r"^(gone|m|dull)$"):
        run_step(plugin(code), chunk=chunk())


def test_the_error_for_a_missing_input_names_it(run_step, plugin) -> None:
    operator = plugin("def execute(a, b):\n    return a", "image,mask")
    with pytest.raises(ChunkMismatch, match="there is no value named 'mask'; made so far: image"):
        run_step(operator, image=chunk())
    chain = [{"op": "create-chunk"}, {"op": "plugin", **operator.model_dump(exclude_defaults=True)}]
    with pytest.raises(ConfigError, match="reads 'image', which no operator before it makes"):
        Pipeline.parse({"operators": chain})


def test_a_plugin_without_names_is_called_and_sets_no_value(
    run_step, plugin, tmp_path: Path
) -> None:
    note = str(tmp_path / "note")
    code = f"def execute(args):\n    with open({note!r}, 'a') as file:\n        file.write(args)"
    operator = plugin(code, None, None, args="once")
    assert (operator.reads(), operator.writes()) == ((), ())
    assert run_step(operator).values == {}
    with operator.open(Run(needed_box=lambda box, bounds: box, dry_run=True)) as step:
        step(Task())
    assert (tmp_path / "note").read_text() == "once"


def test_the_file_is_found_in_the_current_folder_or_the_plugins_folder(
    run_step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, value in ((here, 1), (there, 2)):
        folder.mkdir()
        (folder / "number.py").write_text(f"def execute():\n    return {{'is': {value}}}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"there is no file .*/number\.py.*\n.*CHUNKFLOW_PLUGIN_DIR.*examples/plugins",
    ):
        run_step(Plugin(file="number", output_names="n"))
    monkeypatch.setenv("CHUNKFLOW_PLUGIN_DIR", str(there))
    with pytest.raises(ConfigError, match=rf"{tmp_path}/none\.py or {there}/none\.py"):
        run_step(Plugin(file="none", output_names="n"))
    for name, value in (
        ("number", 2),
        ("number.py", 2),
        ("here/number", 1),
        (str(here / "number.py"), 1),
    ):
        assert run_step(Plugin(file=name, output_names="n")).values["n"] == {"is": value}, name
    monkeypatch.chdir(here)
    assert run_step(Plugin(file="number", output_names="n")).values["n"] == {"is": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "s3://bucket/code.py"}, "without a protocol"),
        ({"file": ""}, "is empty"),
        ({}, "file"),
        ({"file": "x", "output_names": "a,None"}, "no result can be named None"),
        ({"file": "x", "output_names": "a, a"}, "has the same name twice"),
        ({"file": "x", "margin_size": [0, -1, 0]}, "from 0 on"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plugin(**options)


def test_the_file_is_loaded_once_for_all_threads(plugin, tmp_path: Path) -> None:
    code = f"""
import dataclasses, threading
with open({str(tmp_path / "loads")!r}, "a") as file:
    file.write("x")
@dataclasses.dataclass
class Sum:
    value: int
together = threading.Barrier(2, timeout=30)
def execute(c):
    together.wait()
    return Sum(int(c.array.sum()))
"""

    def work(step: Any, value: int) -> int:
        task = Task(values={"chunk": chunk(np.full((1, 1, 2), value))})
        step(task)
        return task.values["sum"].value

    with (
        plugin(code, outputs="sum").open(Run(needed_box=lambda box, bounds: box)) as step,
        ThreadPoolExecutor(2) as pool,
    ):
        assert list(pool.map(lambda n: work(step, n), range(8))) == [2 * n for n in range(8)]
    assert (tmp_path / "loads").read_text() == "x"


MEAN = """
import numpy as np
def execute(c, radius):
    a, r = np.pad(c.array.astype(float), radius, mode="edge"), radius
    z, y, x = c.array.shape
    width = range(2*r+1)
    shifted = (a[i:i+z, j:j+y, k:k+x] for i in width for j in width for k in width)
    return sum(shifted) / len(width)**3
"""


def test_a_filter_with_a_margin_gives_the_same_result_for_every_cut(volume, tmp_path: Path) -> None:
    (tmp_path / "mean.py").write_text(MEAN)
    image = np.random.default_rng(5).integers(0, 255, (16, 32, 32), np.uint8)
    source = volume("in", image)
    results = []
    for size in ([16, 32, 32], [8, 16, 16]):
        target = volume(f"out{size[0]}", source.bounds, dtype="float32")
        chain = {
            "tasks": {"op": "generate-tasks", "volume_path": source.path, "chunk_size": size},
            "operators": [
                {"op": "load-precomputed", "volume_path": source.path},
                {
                    "op": "plugin",
                    "file": str(tmp_path / "mean"),
                    "input_names": "chunk",
                    "output_names": "chunk",
                    "args": "radius=2",
                    "margin_size": [2, 2, 2],
                },
                {"op": "save-precomputed", "volume_path": target.path},
            ],
        }
        file = tmp_path / "p.yaml"
        file.write_text(yaml.safe_dump(chain))
        done = CliRunner().invoke(cli, ["--pipeline", str(file)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        results.append(PrecomputedVolume(target.path).read(source.bounds))
    assert np.array_equal(*results)
    assert results[0][8, 16, 16] == pytest.approx(image[6:11, 14:19, 14:19].mean())


def test_the_command_line_of_chunkflow_1_2_0(tmp_path: Path) -> None:
    (tmp_path / "add.py").write_text(
        "import numpy as np\ndef execute(a, n=1):\n    np.save(OUT, a.array + n)".replace(
            "OUT", repr(str(tmp_path / "out.npy"))
        )
    )
    create = "create-chunk -s 2 2 2 --pattern zero"
    plugin = f"plugin --name adds -i chunk -f {tmp_path / 'add.py'} -a n=4"
    done = CliRunner().invoke(cli, f"{create} {plugin}".split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "out.npy").tolist() == [[[4, 4], [4, 4]], [[4, 4], [4, 4]]]


def test_bbox_is_the_box_of_the_task(run_step, plugin) -> None:
    made = plugin(
        "def execute(box, c):\n    return c if box is None else str(box)", inputs="bbox,chunk"
    )
    assert made.reads() == ("chunk",)
    box = BoundingBox.parse("1-4_2-6_3-8")
    assert run_step(made, bbox=box, chunk=chunk()).values["chunk"] == "1-4_2-6_3-8"
    given = chunk()
    assert run_step(made, chunk=given).values["chunk"] is given


def test_the_error_for_a_missing_library_names_it_and_the_cure(run_step, plugin) -> None:
    with pytest.raises(
        ConfigError,
        match=r"(?s)mine\.py:1: .*'nosuchlibrary'.*pip install \"chunkflow-worker\[plugins\]\"",
    ):
        run_step(plugin("import nosuchlibrary"), chunk=chunk())


def test_the_file_that_was_loaded_is_one_of_its_models(
    plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plugin("def execute(c):\n    return c")
    assert list(made.model_files()) == [("file", tmp_path / "mine.py")]
    monkeypatch.setenv("CHUNKFLOW_PLUGIN_DIR", str(tmp_path))
    by_name = made.model_copy(update={"file": "mine"})
    assert list(by_name.model_files()) == [("file", tmp_path / "mine.py")]
    with Pipeline((by_name,)).open() as opened:
        assert list(opened.models) == ["plugin.file"]
