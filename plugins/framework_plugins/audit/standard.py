"""`audit=standard`: checks the rows for what is likely to spoil the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from framework.api import Audit, AuditData, Finding
from framework_plugins.audit import clean, content, dataset, duplicates, preferences, sizes
from framework_plugins.audit.config import StandardConfig
from framework_plugins.audit.finding_draft import FindingDraft
from framework_plugins.audit.texts import make_survey


class Standard(Audit):
    """The audit of every run."""

    def __init__(self, config: StandardConfig) -> None:
        self.config = config

    def audit(self, data: AuditData) -> Iterable[Finding]:
        named = replace(self.config, clean="clean.jsonl")
        helps = self.config.clean is None and not any(clean.problems(data.plan, named))
        hint = f"; {clean.SETTING}={named.clean} writes the rows without them" if helps else ""
        return [
            replace(draft, advice=f"{draft.advice}{hint * (draft.check in clean.REMOVED)}").finding(
                data, fatal=draft.check in self.config.fatal
            )
            for draft in self.drafts(data)
        ]

    def clean(self, data: AuditData) -> Iterable[Finding]:
        """Write the rows that are left if `clean` names a file."""
        if self.config.clean is None:
            return []
        rows = clean.training_rows(data)
        return [clean.write(rows, self.drafts(rows), self.config.clean)]

    def drafts(self, data: AuditData) -> Iterator[FindingDraft]:
        """Give the findings of all checks, before their examples are read."""
        if not len(data):
            return
        surveyed = make_survey(data, self.config)
        for part in (content, duplicates, preferences, sizes, dataset):
            for draft in part.findings(surveyed):
                if draft.check not in self.config.ignore:
                    yield draft
