"""The fingerprint of data: a hash over the content of all rows, wherever they stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from framework.api.records import RawData, Row


def fingerprint(raw: RawData) -> str:
    """Return a hash over the content of the rows, in their order; where they stand does not count."""
    if raw.key:
        return hashlib.sha256(raw.key.encode()).hexdigest()
    digest = hashlib.sha256()
    for part in (raw.train, raw.validation, raw.prompts):
        digest.update(b"\x00")
        digest.update(_rows(part))
    return digest.hexdigest()


def _rows(rows: Iterable[Row]) -> bytes:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([dict(row.fields), row.problem], sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.digest()
