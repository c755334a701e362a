"""`chunkflow look`: stored volumes, meshes, skeletons and points in Neuroglancer."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING

import click

from chunkflow_worker.config.commands import Command
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.view.look import Asked, Scene

# The same as in `layers.py`, which is too heavy to import for --help.
_KINDS = ("image", "segmentation", "map", "mesh", "skeleton", "points")


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--name", "names", multiple=True, help="Name of a layer; once for each path, in order."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    help="What a path holds, if it is not found out; once for each path, in order.",
)
@click.option("--open/--no-open", "opens", default=True, help="Open the page in the browser.")
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    help="Port of the files; the page has the next one. Default: free ones.",
)
@click.option(
    "--page",
    help="Address of the Neuroglancer to open; default: the one of the Python package neuroglancer "
    "if it is installed, else https://neuroglancer-demo.appspot.com.",
)
@click.option("--link", "only_link", is_flag=True, help="Print the link, and nothing else.")
def look(
    paths: tuple[str, ...],
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    opens: bool,
    port: int | None,
    page: str | None,
    only_link: bool,
) -> None:
    """Show stored volumes, meshes, skeletons and points in Neuroglancer.

    Each path becomes a layer; the first lies lowest. A path is a volume of any format, on this
    machine or in a bucket, a folder of meshes or skeletons, or a file of points or synapses that
    an operator wrote. Images get the contrast of their values. An image over another one is a map,
    coloured where it is high. Of a segmentation, the meshes and skeletons of its largest objects
    are drawn.

    Folders of this machine are served on 127.0.0.1, read only, until Ctrl-C. If all paths are in
    buckets, the link needs no server, and others can open it if they may read the buckets.
    """
    from chunkflow_worker.view.file_server import FileServer
    from chunkflow_worker.view.look import Scene, is_here

    asked = _asked(paths, names, kinds)
    with ExitStack() as stack:
        scene = Scene()
        if any(is_here(path) for path in paths):
            scene.server = stack.enter_context(FileServer(port or 0).serving())
        for each in asked:
            shown = scene.add(each)
            if not only_link:
                say(f"{shown.layer['name']}: {shown.kind}, {each.path}")
        link = _link(scene, page, port or 0, stack)
        if scene.server is not None:  # whoever has read the link may press Ctrl-C at once
            stack.enter_context(suppress(KeyboardInterrupt))
        say(link)
        if opens and not only_link:
            click.launch(link)
        if scene.server is not None:
            if not only_link:
                say("the page is served until Ctrl-C")
            Event().wait()


def _link(scene: Scene, page: str | None, port: int, stack: ExitStack) -> str:
    """The address of the page, which is served here if it shows folders of this machine."""
    from chunkflow_worker.volumes.scene.page import PUBLIC, link

    if page is None and scene.server is not None and find_spec("neuroglancer"):
        from chunkflow_worker.view.neuroglancer import page as own_page

        viewer = stack.enter_context(own_page(port and port + 1))
        viewer.set_state(scene.state())
        return str(viewer.get_viewer_url())
    return link(scene.state(), page or PUBLIC)


def _asked(paths: tuple[str, ...], names: tuple[str, ...], kinds: tuple[str, ...]) -> list[Asked]:
    """Raises ConfigError for more names or kinds than paths, or fewer kinds than paths."""
    from chunkflow_worker.view.look import Asked, names_of

    for option, values in (("--name", names), ("--kind", kinds)):
        if len(values) > len(paths):
            problem = f"is given {len(values)} times for {len(paths)} paths"
            raise ConfigError.one("chunkflow look", option, problem, "give it once for each path")
    all_kinds = [*kinds, *[None] * (len(paths) - len(kinds))]
    return [
        Asked(path, kind, name)  # type: ignore[arg-type]
        for path, kind, name in zip(paths, all_kinds, names_of(paths, names), strict=True)
    ]
