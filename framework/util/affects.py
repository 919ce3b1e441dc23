"""The mark at a field of a config that says what has to be recomputed when its value changes."""

from __future__ import annotations

from enum import Flag, auto


class Affects(Flag):
    """What a setting can change: a mark in the `Annotated` type of its field, beside its range.

        save_steps: Annotated[int | None, Gt(0), ~Affects.resume] = None

    Without a mark a field affects all that its section does, so a mark that is forgotten costs time and gives no stale
    result. A section is marked at its field in `RunConfig`, and the marks of a field and of all that it lies in count
    together. `~Affects.base` is everything but the base. `trainer` does not affect the rows and the data: a setting of
    a trainer that the data stage reads has to be in the key there too.
    """

    nothing = 0
    unmixed_rows = auto()
    """Tokenized rows in the user's cache, where `data.mix` adds none."""
    mixed_rows = auto()
    """Tokenized rows in the user's cache, if it adds some: how many depends on the split, which ones on `data.seed`."""
    rows = unmixed_rows | mixed_rows
    """Tokenized rows in the user's cache. They have the content of the source in their key, so where it lies does not
    count."""
    data = auto()
    """The rows of a run as they are split and proven, and their lengths. The length limit and the batch size are in
    its keys by themselves."""
    audit = auto()
    """What the audits found in the rows."""
    base = auto()
    """What the base computes and answers, whatever it is asked."""
    baseline = auto()
    """Measures of the base, as far as `base` does not tell: what it is asked, and how that is measured."""
    training = auto()
    """The training, and what is measured after it. Trials of a sweep with the same values share one."""
    resume = auto()
    """Whether a training is the same one, so that it resumes from its checkpoints and in its tracker run."""
    exports = auto()
    """What exporters make of the same weights."""
