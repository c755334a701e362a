"""`note_files`: how code that is not ours says which files it wrote by itself."""

from __future__ import annotations

from pathlib import Path

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.storage.cloud import storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import local_folder, normal_path
from chunkflow_worker.storage.written_file import WrittenFile, is_noting, note, note_local, tell


def note_files(*paths: str | Path) -> None:
    """Note files that the step of an operator, or a plugin, wrote by itself, for its task's record.

    `chunkflow-producer verify` then compares them with their size and CRC-32, which are taken from
    the files as they are now: call it after the last write, in the thread that runs the step.
    Without paths it says that the step wrote no file. What `atomic_file` writes is noted already.

    paths: of files on this machine, or of objects, such as s3://lab/greys/0.json. `verify` opens
        only those below a path that an option of the operator names: `--output-path` of a plugin,
        or one in the facts `writes_paths` and `writes_files` of an operator.
    Raises DataMissing for a file that does not exist, ConfigError for a path that is none, and
    StorageUnavailable.
    """
    tell()
    if not is_noting():
        return
    for path in map(normal_path, map(str, paths)):
        local = local_folder(path)
        if local is None:
            _note_object(path)
        elif local.is_file():
            with storage_errors(path):
                note_local(local)
        else:
            raise DataMissing(f"there is no file {local}, which was noted as written")


def _note_object(path: str) -> None:
    folder, _, name = path.rpartition("/")
    files = Files(folder)
    stored, crc32 = files.stored([name])[name], files.checksums([name])[name]
    if stored is None or crc32 is None:
        raise DataMissing(f"there is no object {path}, which was noted as written")
    note(WrittenFile(path, stored.size, crc32, stored.time))
