"""`open_database`: a file in the folder where the local AWS keeps what it holds.

A commit hands its changes to the operating system, so they outlive the process, however it ends.
After a power cut, the last moments may be missing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chunkflow_worker.errors import ConfigError

SUBJECT = "local AWS"


def open_database(folder: Path, name: str, version: int, schema: str) -> sqlite3.Connection:
    """Open a database for this process alone; makes folder and file if they are absent.

    schema: statements that make the tables; `version` counts its changes.
    Raises ConfigError for a folder that another process uses, that cannot be written, or that a
    program of another version has written.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=0, check_same_thread=False)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found == 0:
            database.executescript(schema)
            database.execute(f"PRAGMA user_version = {version}")
        database.execute("BEGIN EXCLUSIVE")
        database.commit()
    except (OSError, sqlite3.Error) as error:
        raise _refusal(path, error) from None
    if found not in (0, version):
        database.close()
        problem = f"was written by another version of local-aws ({found}; this is {version})"
        raise ConfigError.one(SUBJECT, str(path), problem, "give another folder as --data")
    return database


def _refusal(path: Path, error: Exception) -> ConfigError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY":
        problem = "another local-aws uses this folder"
        return ConfigError.one(SUBJECT, str(path), problem, "stop it, or give another --data")
    problem = f"cannot be used: {getattr(error, 'strerror', None) or error}"
    cure = "give a folder that you can write, on a local disk, as --data"
    return ConfigError.one(SUBJECT, str(path), problem, cure)
