"""The knob `reading`: further arguments of a loader."""

import ast
from typing import Any


def arguments(text: str) -> dict[str, Any]:
    """{name: value} of "name=value;name=value": numbers and booleans, else strings."""
    found: dict[str, Any] = {}
    for word in filter(None, text.split(";")):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"reading must be NAME=VALUE;NAME=VALUE, got {word!r}")
        try:
            found[name.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name.strip()] = value
    return found
