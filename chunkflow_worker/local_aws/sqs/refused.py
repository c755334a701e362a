"""`Refused`: the error of a request that SQS refuses."""

from __future__ import annotations


class Refused(Exception):
    """Part of the answer to a client; it is not an error of this service.

    code: as in Amazon's model of SQS, for example `QueueDoesNotExist`.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def invalid_value(name: str, value: object, reason: str) -> Refused:
    """The error for a parameter, in the words of SQS."""
    text = f"Value {value} for parameter {name} is invalid. Reason: {reason}"
    return Refused("InvalidParameterValue", text)


def check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Raises Refused for a parameter outside of its limits."""
    if not lowest <= value <= highest:
        raise invalid_value(name, value, f"Must be between {lowest} and {highest}, if provided.")
