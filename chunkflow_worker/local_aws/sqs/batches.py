"""Requests with several entries, each of which may fail alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from chunkflow_worker.job.sqs import MOST_MESSAGES
from chunkflow_worker.local_aws.sqs.refused import Refused

Entry = dict[str, Any]
_ID = re.compile(r"[\w-]{1,80}", re.ASCII)


def check_entries(entries: Sequence[Entry]) -> None:
    """Raises Refused for a batch that SQS refuses as a whole."""
    ids = [str(entry["Id"]) for entry in entries]
    if not ids:
        raise Refused("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(ids) > MOST_MESSAGES:
        text = (
            f"Maximum number of entries per request are {MOST_MESSAGES}. You have sent {len(ids)}."
        )
        raise Refused("TooManyEntriesInBatchRequest", text)
    for each in ids:
        if not _ID.fullmatch(each):
            rule = "must be 1 to 80 letters, digits, hyphens or underscores"
            raise Refused("InvalidBatchEntryId", f"The id {each!r} of a batch entry {rule}.")
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise Refused("BatchEntryIdsNotDistinct", f"Id {twice} repeated.")


def do_entries(entries: Sequence[Entry], do: Callable[[Entry], Entry]) -> dict[str, list[Entry]]:
    """Do each entry; returns those that succeeded, with their results, and those that failed."""
    check_entries(entries)
    successful: list[Entry] = []
    failed: list[Entry] = []
    for entry in entries:
        try:
            successful.append({"Id": entry["Id"], **do(entry)})
        except Refused as refused:
            code, text = refused.code, refused.message
            failed.append({"Id": entry["Id"], "SenderFault": True, "Code": code, "Message": text})
    return {"Successful": successful, "Failed": failed}
