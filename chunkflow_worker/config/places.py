"""Paths as users write them: mistakes in them, and the formats that viewers write around them.

Nothing here reads storage. `storage/path.py` brings a path into the form that libraries take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from chunkflow_worker.config.catalog import facts_of, main_names
from chunkflow_worker.config.facts import GRAPHENE, PRECOMPUTED, VOLUMES, Facts, Place
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import Mistake

PROTOCOLS = ("file://", "s3://", "gs://", "mem://", "http://", "https://")
LEGAL = "legal: " + ", ".join(PROTOCOLS)

_NAMES = {protocol.removesuffix("://") for protocol in PROTOCOLS}
_OTHER_NAMES = {"gcs": "gs", "gc": "gs", "google": "gs", "s3a": "s3", "s3n": "s3", "aws": "s3"}
# A word, and what stands where :// belongs. Two slashes alone also follow a folder's name.
_BEGINNING = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(:[/\\]*|;[/\\]*|[/\\]{2,})(.*)", re.DOTALL)

_OF_WINDOWS = re.compile(r"[A-Za-z]:[/\\](?!/)")  # with one letter, as no protocol has

# What other programs replace by a value: the shell, Windows, Python and Jinja.
_VARIABLES = re.compile(
    r"\$\{(?P<braces>[^}]*)\}?|\$(?P<plain>[A-Za-z_]\w*)|\$\(|`"
    r"|%(?P<percent>[A-Za-z_]\w*)%|\{\{?\s*(?P<curly>[A-Za-z_][\w.]*)\s*\}\}?"
)
_NAME_IN_BRACES = re.compile(r"[A-Za-z_]\w*")

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9+-]*)://(.*)", re.DOTALL)
_SUFFIX = re.compile(r"([^|]*)\|([A-Za-z][\w+-]*):([^|]*)")
_CHAIN = re.compile(r"[^|]*(\|[A-Za-z][\w+-]*:[^|]*)+")
# Formats in the addresses of Neuroglancer and other programs -> what they are called here.
_FORMATS = {
    "precomputed": PRECOMPUTED,
    "neuroglancer-precomputed": PRECOMPUTED,
    **{name: name for name in VOLUMES},
}
_UNREAD = (
    "nggraphene", "nggraph", "boss", "brainmaps", "catmaid", "deepzoom", "dvid",
    "hdf5", "nifti", "obj", "ome-zarr", "python", "render", "swc", "trakem2", "vtk",
)  # fmt: skip
_METADATA_FILES = (
    "info", ".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json", "attributes.json",
)  # fmt: skip
_ARN = re.compile(r"arn:aws[\w-]*:s3:::(.+)")
_PUBLIC_LINKS = (
    (re.compile(r"https?://storage\.(?:googleapis|cloud\.google)\.com/(.+)"), r"gs://\1"),
    (re.compile(r"https?://s3[\w.-]*\.amazonaws\.com(?:\.cn)?/(.+)"), r"s3://\1"),
    (re.compile(r"https?://([\w.-]+?)\.s3[\w.-]*\.amazonaws\.com(?:\.cn)?(/.*)?"), r"s3://\1\2"),
)


def checked(place: Place, text: str) -> str:
    """The path that an option holds, without the format around it.

    The address of a volume keeps its format, before the path.
    Raises Mistake for a path that is mistyped, or not of the kind that the option takes.
    """
    if place.is_local:
        return check_local(text)
    path = without_format(text, place.formats, place.is_written)
    check_stored(path)
    if place.is_volume:
        _refuse_metadata_file(path)
    if place.is_written:
        check_writable(path)
    name, _ = split_format(text)
    return f"{name}://{path}" if place.is_volume and name else path


def volume_to_read(text: str | None) -> str | None:
    """Check an option that names a volume to read, as a pydantic validator.

    Returns its address with the format, if it names one, before the path. Raises Mistake.
    """
    return text and checked(Place("", False, False, VOLUMES, is_volume=True), text)


def checked_options(
    facts: type[Facts], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Mistake]]:
    """The options of an operator with variables replaced, and their paths as `checked` gives them.

    Also returns the mistakes found there, by option.
    """
    values, mistakes = dict(options), dict[str, Mistake]()
    places = {place.option: place for place in facts.places(options)}
    for option, value in options.items():
        try:
            values[option] = with_variables(value)
            if option in places and isinstance(values[option], str):
                values[option] = checked(places[option], values[option])
        except Mistake as mistake:
            mistakes[option] = mistake
    return values, mistakes


def check_stored(path: str) -> None:
    """Raise Mistake for a path that is mistyped. A path without a protocol is local."""
    _check_text(path)
    protocol, _, rest = path.partition("://")
    if protocol in _NAMES and f"{protocol}://" in path:
        _check_rest(protocol, rest)
        return
    _refuse_mistyped(path)
    if "://" in path:
        raise Mistake("has an unknown protocol", LEGAL)
    _check_folders(path)


def check_local(name: str) -> str:
    """The name of a file or folder on this machine; raises Mistake if it is not one."""
    _check_text(name)
    problem = "takes a path on this machine, without a protocol"
    if name.startswith("file:///"):
        raise Mistake(problem, f"did you mean {name.removeprefix('file://')}?")
    if "://" in name:
        raise Mistake(problem)
    if _CHAIN.fullmatch(name):
        raise Mistake("takes the name of a file, without a format after it")
    try:
        _refuse_mistyped(name)
    except Mistake as mistake:
        raise Mistake(f"takes a path on this machine, and {mistake.problem}", _here(name)) from None
    return name


def check_writable(path: str) -> None:
    """Raise Mistake for a path that is read only."""
    if not path.startswith(("http://", "https://")):
        return
    if bucket := _in_bucket(path):
        raise Mistake("is read only", f"did you mean {bucket}?")
    raise Mistake("is read only", "write to a bucket (s3://, gs://) or a folder")


def _in_bucket(link: str) -> str:
    """The path of what a public link shows of a bucket; empty for another link."""
    found = ((known.fullmatch(link), store) for known, store in _PUBLIC_LINKS)
    return next((match.expand(store) for match, store in found if match), "")


def is_relative(path: str) -> bool:
    """Whether a path depends on the folder that a program runs in."""
    local = split_format(path)[1].removeprefix("file://")
    return "://" not in local and not local.startswith(("/", "~"))


def without_format(text: str, accepted: Iterable[str], is_written: bool = False) -> str:
    """A path without the format that viewers write before it (zarr://) or after it (|zarr:).

    Raises Mistake for another format than those that are accepted.
    """
    name, path = split_format(text)
    if name is None or name in accepted:
        return path
    if name not in _FORMATS.values():
        known = ", ".join(sorted(set(_FORMATS.values())))
        raise Mistake(f"is of the format {name}, which nothing here reads", f"known: {known}")
    operator = _operator_for(name, is_written)
    verb = "writes" if is_written else "reads"
    cure = f"{operator} {verb} it" if operator else f"give {path} here"
    raise Mistake(f"is of the format {name}, which this option does not take", cure)


def split_format(text: str) -> tuple[str | None, str]:
    """The format in a path, None if it names none, and the path without it."""
    prefix = _PREFIX.fullmatch(text)
    if prefix and (name := prefix[1].lower()) in (*_FORMATS, *_UNREAD):
        name = _FORMATS.get(name, name)
        if name == GRAPHENE:
            return name, _server(prefix[2])
        inner_name, rest = split_format(prefix[2])
        if not (inner_name or name).startswith(name):
            raise Mistake(f"names two formats, {name} and {inner_name}", "leave one of them out")
        return inner_name or name, rest
    suffix = _SUFFIX.fullmatch(text)
    if suffix:
        inner = suffix[3].strip("/")
        folder = suffix[1].rstrip("/") or suffix[1]
        name = suffix[2].lower()
        return _FORMATS.get(name, name), f"{folder}/{inner}" if inner else folder
    if _CHAIN.fullmatch(text):
        cure = "unpack it first, and give the folder"
        raise Mistake("names a place inside an archive or another file", cure)
    return None, text


def _server(address: str) -> str:
    """The address of a graphene volume without the format, and without how users log in."""
    plain = address.removeprefix("middleauth+")
    if not plain.startswith(("https://", "http://")):
        cure = "for example graphene://https://server/segmentation/table/name"
        raise Mistake("is of the format graphene, and names no server", cure)
    return plain


def _operator_for(name: str, is_written: bool) -> str:
    """The operator whose main work is to read or write volumes of a format; empty if none is."""
    if is_written and name == GRAPHENE:
        return ""
    group = "Write" if is_written else "Read"
    for operator in main_names():
        facts = facts_of(operator)
        volumes = facts.saves if is_written else facts.loads
        is_main = any(volumes.values()) and not facts.formats  # of one mip
        if facts.group == group and is_main and name in VOLUMES:
            return operator
    return ""


def _check_text(text: str) -> None:
    if not text:
        raise Mistake("is empty", "write ./ for the current folder")
    if not text.isprintable():
        raise Mistake(f"{text!r} has a line break or another control character in it")
    if text != text.strip():
        raise Mistake("begins or ends with a space", f"did you mean {text.strip()}?")
    if text[0] == text[-1] and text[0] in "'\"" and len(text) > 2:
        raise Mistake("has quotes in it", f"did you mean {text[1:-1]}?")
    is_link = text.startswith(("http://", "https://"))  # where %20 stands for a character
    for found in _VARIABLES.finditer(text):
        if found["percent"] and is_link:
            continue
        name = next(filter(None, map(found.group, ("braces", "plain", "percent", "curly"))), "")
        names = [n for n in _NAME_IN_BRACES.findall(name) if n.lower() not in ("env", "oc")]
        cure = f"write ${{env:{names[0]}}}" if names else "write ${env:NAME}"
        raise Mistake(
            f"contains {found[0]}, which nothing replaces",
            f"{cure} for the value of an environment variable",
        )


def _check_rest(protocol: str, rest: str) -> None:
    """Check what follows a legal protocol."""
    if protocol == "file":
        if rest.startswith("localhost/"):
            cure = f"did you mean file://{rest.removeprefix('localhost')}?"
            raise Mistake("names a machine", cure)
        if "://" in rest:
            raise Mistake("has an unknown protocol", LEGAL)
        _check_folders(rest)
    elif rest.startswith(("/", " ")) or not rest:
        what = "host" if protocol.startswith("http") else "bucket"
        found = rest.strip("/ ")
        cure = f"did you mean {protocol}://{found}?" if found else f"write {protocol}://{what}/..."
        raise Mistake(f"names no {what}", cure)


def _check_folders(path: str) -> None:
    """Raise Mistake for a path of folders on this machine that cannot hold a volume or files."""
    if "\\" in path:
        meant = re.sub(r"[/\\]+", "/", path)
        raise Mistake("has a backslash", f"did you mean {meant}?")
    if not path.strip("/"):
        raise Mistake("is the root of all folders", "name a folder below it")
    if path.startswith("//"):
        cure = f"did you mean /{path.lstrip('/')}?"
        raise Mistake("begins with two slashes", f"{cure} A share of the network is mounted first")


def _refuse_metadata_file(path: str) -> None:
    """Raise Mistake for the path of a file that describes a volume."""
    folder, _, name = path.rstrip("/").rpartition("/")
    if folder and name in _METADATA_FILES:
        raise Mistake("names a file of a volume, not the volume", f"did you mean {folder}?")


def _refuse_mistyped(path: str) -> None:
    """Raise Mistake for a path that begins with a protocol, but not as a protocol is written.

    Also for the name of a bucket as AWS's console shows it, and for a path of Windows.
    """
    bucket = _ARN.sub(r"s3://\1", path) if _ARN.fullmatch(path) else _in_bucket(f"https://{path}")
    if bucket:
        problem = "is the place of a bucket without a protocol"
        raise Mistake(problem, f"did you mean {bucket}?; {_here(path)}")
    if _OF_WINDOWS.match(path):
        raise Mistake("is a path of Windows", "a path here begins with /, for example /mnt/data/em")
    found = _BEGINNING.fullmatch(path)
    if found is None:
        return
    word, separator, rest = found.groups()
    protocol = _protocol(word)
    has_slash = len(separator) > 1
    if protocol is None and not (separator.startswith(":") and has_slash):
        return
    if separator.startswith("://") or protocol is None:
        likely = protocol or next(iter(get_close_matches(word.lower(), _NAMES, n=1)), None)
        problem = "has an unknown protocol"
    else:
        likely, problem = protocol, f"has {separator!r} where '://' belongs"
    local = "" if separator.startswith("://") else f"; {_here(path)}"
    if likely is None:
        raise Mistake(problem, LEGAL + local)
    rest = rest.lstrip("/\\").replace("\\", "/")
    meant = f"{likely}:///{rest}" if likely == "file" and has_slash else f"{likely}://{rest}"
    raise Mistake(problem, f"did you mean {meant}?{local}")


def _here(path: str) -> str:
    return f"./{path} is a path on this machine"


def _protocol(word: str) -> str | None:
    """The protocol that a word means, in any case; None if it means none."""
    name = word.lower()
    return name if name in _NAMES else _OTHER_NAMES.get(name)
