"""The part of Go's templates that people use with `--format`: fields of what is shown, and those as JSON."""

from __future__ import annotations

import json
import re

from containers.sandbox import CannotRun

_ACTION = re.compile(r"\{\{\s*(json\s+)?(\.[\w.]*)\s*\}\}")
_ESCAPES = {r"\t": "\t", r"\n": "\n"}


def fill(template: str, data: dict) -> str:
    """The template with ``{{.Field.Inner}}`` and ``{{json .Field}}`` replaced.  `CannotRun`."""
    text = _ACTION.sub(lambda match: _value(match[2], match[1] is not None, data), template)
    if "{{" in text.replace("{{}}", ""):
        left = re.search(r"\{\{.*?(\}\}|$)", _ACTION.sub("", template))
        if left is not None:
            raise CannotRun(f"--format: {left[0]} is not understood; there are {{{{.Field}}}} and {{{{json .Field}}}}")
    return re.sub(r"\\[tn]", lambda match: _ESCAPES[match[0]], text)


def _value(path: str, as_json: bool, data: dict) -> str:
    found = data
    for name in filter(None, path.split(".")):
        if not isinstance(found, dict) or name not in found:
            there = f"; there are {', '.join(found)}" if isinstance(found, dict) else ""
            raise CannotRun(f"--format: there is no {name} in {path}{there}")
        found = found[name]
    if as_json:
        return json.dumps(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    return found if isinstance(found, str) else json.dumps(found)
