"""Mistakes in paths, and the formats that viewers write around them."""

from __future__ import annotations

import pytest

from chunkflow_worker.config.facts import PRECOMPUTED, Place
from chunkflow_worker.config.places import (
    check_local,
    check_stored,
    check_writable,
    checked,
    is_relative,
    split_format,
    volume_to_read,
)
from chunkflow_worker.errors import Mistake

FOLDER = Place("volume_path", False, False, (PRECOMPUTED,))
OUTPUT = Place("volume_path", True, False, (PRECOMPUTED,))
STORE = Place("store", False, False, ("zarr", "zarr2", "zarr3", "n5"))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("s3:/lab/em", "s3://lab/em"),
        ("s3:lab/em", "s3://lab/em"),
        ("s3//lab/em", "s3://lab/em"),
        ("s3;//lab/em", "s3://lab/em"),
        ("s3:///lab/em", "s3://lab/em"),
        (r"s3:\\lab\em", "s3://lab/em"),
        ("S3://lab/em", "s3://lab/em"),
        ("s3a://lab/em", "s3://lab/em"),
        ("gs:lab", "gs://lab"),
        ("gs:/lab", "gs://lab"),
        ("gcs://lab/em", "gs://lab/em"),
        ("https:/host/em", "https://host/em"),
        ("htps://host/em", "https://host/em"),
        ("http:host", "http://host"),
        ("mem:x", "mem://x"),
        ("file:/x", "file:///x"),
        ("file:x", "file://x"),
        ("FILE:///x", "file:///x"),
        ("file://localhost/x", "file:///x"),
        (" s3://lab/em", "s3://lab/em"),
        ("s3:// lab/em", "s3://lab/em"),
        ("arn:aws:s3:::lab/em", "s3://lab/em"),
        ("s3.amazonaws.com/lab/em", "s3://lab/em"),
        ("lab.s3.eu-west-1.amazonaws.com/em", "s3://lab/em"),
        ("storage.googleapis.com/lab/em", "gs://lab/em"),
        (r"out\em", "out/em"),
        (r"\\server\share", "/server/share"),
        ("//server/share", "/server/share"),
        ("file:////server/share", "/server/share"),
        ("'s3://lab/em'", "s3://lab/em"),
        ('"out/em"', "out/em"),
    ],
)
def test_a_mistyped_path_is_answered_with_the_likely_one(path: str, meant: str) -> None:
    with pytest.raises(Mistake) as refused:
        check_stored(path)
    assert f"did you mean {meant}?" in refused.value.cure
    check_stored(meant)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("azure://lab", "unknown protocol"),
        ("hdfs://lab", "unknown protocol"),
        ("C:/data", "a path of Windows"),
        (r"d:\data", "a path of Windows"),
        ("/", "the root of all folders"),
        ("file:///", "the root of all folders"),
        ("precomputed:s3://lab", "unknown protocol"),
        ("file://s3://lab", "unknown protocol"),
        ("s3://", "names no bucket"),
        ("gs:///", "names no bucket"),
        ("https://", "names no host"),
        ("", "is empty"),
        ("s3://lab\n", "a line break"),
    ],
)
def test_a_path_of_no_known_kind_is_refused(path: str, problem: str) -> None:
    with pytest.raises(Mistake, match=problem):
        check_stored(path)


@pytest.mark.parametrize(
    "path",
    [
        "it's",
        "'",
        "run_'a'",
        "./s3:/x",
        "s3.amazonaws.com",
        "/data/lab.s3.amazonaws.com/em",
        "file://s3:/x",
        "/data/s3:/x",
        "run:3/em",
        "a:b",
        "out//x",
        "s3/x",
        "~/em",
        "a b",
    ],
)
def test_local_names_with_colons_can_be_written(path: str) -> None:
    check_stored(path)


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("$OUT/em", "${env:OUT}"),
        ("${OUT}/em", "${env:OUT}"),
        ("s3://${BUCKET}/em", "${env:BUCKET}"),
        ("file://$PWD/em", "${env:PWD}"),
        ("${OUT:-/tmp}/em", "${env:OUT}"),
        ("${ENV:OUT}/em", "${env:OUT}"),
        ("${oc.env:OUT}/em", "${env:OUT}"),
        ("%OUT%/em", "${env:OUT}"),
        ("{OUT}/em", "${env:OUT}"),
        ("{{ out }}/em", "${env:out}"),
        ("$(date)/em", "${env:NAME}"),
        ("`date`/em", "${env:NAME}"),
    ],
)
@pytest.mark.parametrize("check", [check_stored, check_local])
def test_a_variable_that_nothing_replaces_is_refused(check: object, path: str, cure: str) -> None:
    with pytest.raises(Mistake, match="which nothing replaces") as refused:
        check(path)  # type: ignore[operator]
    assert cure in refused.value.cure


@pytest.mark.parametrize("path", ["em_$", "100%/em", "a{1}", "https://host/%E2%82%AC/em"])
def test_signs_that_name_no_variable_are_taken(path: str) -> None:
    check_stored(path)


@pytest.mark.parametrize(
    "name", ["s3:/lab/cut_", "s3://lab/cut_", "gs:cut", "file:/a.h5", "a|zarr:"]
)
def test_a_file_on_this_machine_has_no_address(name: str) -> None:
    with pytest.raises(Mistake, match="takes"):
        check_local(name)


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("https://storage.googleapis.com/lab/em", "did you mean gs://lab/em?"),
        ("https://s3.amazonaws.com/lab/em", "did you mean s3://lab/em?"),
        ("https://s3.us-west-2.amazonaws.com/lab/em", "did you mean s3://lab/em?"),
        ("https://lab.s3.us-east-1.amazonaws.com/em", "did you mean s3://lab/em?"),
        ("http://host/em", "a bucket"),
    ],
)
def test_a_web_address_is_read_only(path: str, cure: str) -> None:
    with pytest.raises(Mistake, match="is read only") as refused:
        check_writable(path)
    assert cure in refused.value.cure
    assert checked(FOLDER, path) == path


@pytest.mark.parametrize(
    ("path", "name", "plain"),
    [
        ("precomputed://gs://lab/em", "precomputed", "gs://lab/em"),
        ("gs://lab/em/|neuroglancer-precomputed:", "precomputed", "gs://lab/em"),
        ("zarr://s3://lab/em.zarr", "zarr", "s3://lab/em.zarr"),
        ("zarr2://s3://lab/em.zarr", "zarr2", "s3://lab/em.zarr"),
        ("s3://lab/em.zarr|zarr3:", "zarr3", "s3://lab/em.zarr"),
        ("s3://lab/em.zarr/|zarr3:s0", "zarr3", "s3://lab/em.zarr/s0"),
        ("zarr://s3://lab/em.zarr|zarr3:", "zarr3", "s3://lab/em.zarr"),
        ("file:///em.n5|n5:volumes/raw/", "n5", "/em.n5/volumes/raw"),
        ("graphene://https://x.org/seg", "graphene", "https://x.org/seg"),
        ("graphene://middleauth+https://x.org/seg", "graphene", "https://x.org/seg"),
        ("nggraphene://https://x.org/seg", "nggraphene", "https://x.org/seg"),
        ("s3://lab/em", None, "s3://lab/em"),
        ("a|b", None, "a|b"),
    ],
)
def test_formats_around_a_path_are_found(path: str, name: str | None, plain: str) -> None:
    found, rest = split_format(path)
    assert (found, rest.removeprefix("file://")) == (name, plain)


@pytest.mark.parametrize("path", ["a.zip|zip:em/|zarr3:", "n5://s3://lab/em|zarr3:"])
def test_two_formats_around_a_path_are_refused(path: str) -> None:
    with pytest.raises(Mistake, match=r"archive|two formats"):
        split_format(path)


@pytest.mark.parametrize(
    ("place", "path", "cure"),
    [
        (FOLDER, "zarr://s3://lab/em", "load-volume reads it"),
        (FOLDER, "n5://s3://lab/em", "load-volume reads it"),
        (FOLDER, "s3://lab/em|zarr3:", "load-volume reads it"),
        (OUTPUT, "zarr://s3://lab/em", "save-volume writes it"),
        (STORE, "precomputed://s3://lab/em", "load-volume reads it"),
        (STORE._replace(is_written=True), "s3://a|neuroglancer-precomputed:", "save-volume"),
        (FOLDER, "graphene://https://x.org/seg", "load-volume reads it"),
        (FOLDER, "graphene://s3://lab/seg", "for example graphene://https://server/"),
        (STORE, "brainmaps://x", "known: graphene, n5, precomputed"),
    ],
)
def test_another_format_is_answered_with_the_operator_for_it(
    place: Place, path: str, cure: str
) -> None:
    with pytest.raises(Mistake, match="is of the format") as refused:
        checked(place, path)
    assert cure in refused.value.cure


def test_elsewhere_the_own_format_is_left_out() -> None:
    assert checked(FOLDER, "precomputed://s3://lab/em") == "s3://lab/em"
    assert checked(OUTPUT, "em|neuroglancer-precomputed:") == "em"
    assert checked(STORE, "n5://s3://lab/em") == "s3://lab/em"


def test_the_address_of_a_volume_keeps_its_format_before_the_path() -> None:
    assert volume_to_read("precomputed://em") == "precomputed://em"
    assert volume_to_read("s3://lab/em|zarr3:") == "zarr3://s3://lab/em"
    assert volume_to_read("s3://lab/em.zarr|zarr2:labels/a/") == "zarr2://s3://lab/em.zarr/labels/a"
    assert volume_to_read("s3://lab/em") == "s3://lab/em"
    assert volume_to_read(None) is None


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("s3://lab/em/info", "s3://lab/em"),
        ("precomputed://em/info/", "em"),
        ("s3://lab/em.zarr/0/.zarray", "s3://lab/em.zarr/0"),
        ("/data/em.zarr/zarr.json", "/data/em.zarr"),
        ("em.n5/attributes.json|n5:", "em.n5"),
    ],
)
def test_a_file_that_describes_a_volume_is_answered_with_the_volume(path: str, meant: str) -> None:
    with pytest.raises(Mistake, match="names a file of a volume") as refused:
        volume_to_read(path)
    assert refused.value.cure == f"did you mean {meant}?"
    assert volume_to_read(meant) == meant
    assert volume_to_read("info") == "info"


def test_only_local_paths_can_be_relative() -> None:
    assert all(map(is_relative, ("em", "./em", "file://em", "../em", "", "zarr://em")))
    assert not any(map(is_relative, ("/em", "~/em", "file:///em", "file://~/em", "n5://s3://em")))
