"""The digest of a result file, which says whether it is as ffprof wrote it.

It proves that nothing was changed by accident, or by somebody who did not make it anew. It is no
signature: whoever edits a file can also compute its digest (docs/record.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

FIELD = "digest"
Belonging = Literal["belongs", "none", "differs"]


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a file's JSON without its ``digest``: keys sorted, nothing between the tokens."""
    rest = {name: value for name, value in document.items() if name != FIELD}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def belonging(document: Mapping[str, Any]) -> Belonging:
    """Whether the digest in a file is that of what it holds; older files have none."""
    stored = document.get(FIELD, "")
    if stored == "":
        return "none"
    return "belongs" if stored == digest_of(document) else "differs"
