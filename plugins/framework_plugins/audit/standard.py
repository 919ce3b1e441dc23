"""`audit=standard`: checks the rows for what is likely to spoil the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from framework.api import AuditData, Finding
from framework_plugins.audit import clean, content, duplicates, sizes, whole
from framework_plugins.audit.config import StandardConfig
from framework_plugins.audit.found import FindingDraft
from framework_plugins.audit.texts import survey


class Standard:
    """The audit of every run."""

    def __init__(self, config: StandardConfig) -> None:
        self.config = config

    def audit(self, data: AuditData) -> Iterable[Finding]:
        return [draft.finding(data, fatal=draft.check in self.config.fatal) for draft in self.look(data)]

    def clean(self, data: AuditData) -> Iterable[Finding]:
        """Write the rows that are left, where `clean` says so."""
        if self.config.clean is None:
            return []
        rows = clean.training_rows(data)
        return [clean.write(rows, self.look(rows), self.config.clean)]

    def look(self, data: AuditData) -> Iterator[FindingDraft]:
        """Give the same by row numbers."""
        if not len(data):
            return
        surveyed = survey(data, self.config)
        for part in (content, duplicates, sizes, whole):
            for draft in part.look(surveyed):
                if draft.check not in self.config.ignore:
                    yield draft
