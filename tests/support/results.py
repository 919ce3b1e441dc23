"""A result of the data stage in which everything occurs that can be reported of data."""

from __future__ import annotations

import dataclasses

from framework.api.records import (
    DataResult,
    Finding,
    FormatRun,
    Lengths,
    MixedIn,
    Piece,
    Proof,
    ProofProblem,
    Severity,
    TrainingIssue,
    TrainResult,
    ViewedRow,
)
from framework.api.schema import Action

ESCAPE = "\x1b[31mred"
SCRIPT = "<script>alert(1)</script>"
FIELDS = "instruction, input, output"
PLAIN = Proof(rows=330, failed=0, turns=340, lowest_share=0.28, mean_share=0.314, problems=[])
FITTING = Lengths(103, 108, 111, 112, [6, 12, 114], [0, 10, 320], 512, 128, 0, 0, 0.0456)
EVEN = DataResult(
    train_rows=270,
    validation_rows=30,
    prompts=30,
    formats={"alpaca": 330},
    tokens=27727,
    supervised_tokens=8519,
    longest=112,
    overflow_rows=0,
    overflow_rows_left_out=0,
    overflow_supervised_tokens=0,
    overflow_validation_rows=0,
    fingerprint="f",
    format_runs=[FormatRun("alpaca", "a.jsonl:1", "b.jsonl:30", 330, FIELDS)],
    mixed=[],
    bad_rows=0,
    bad_examples=[],
    proof=PLAIN,
    lengths=FITTING,
    findings=[],
    view=[ViewedRow("a.jsonl:1", [Piece("<|user|>\nHi<|end|>\n", False), Piece("Hello<|end|>", True)])],  # noqa: FBT003
    cached=False,
)
"""Data with which all is well."""
AMISS = DataResult(
    train_rows=250,
    validation_rows=30,
    prompts=1,
    formats={"alpaca": 121, "sharegpt": 20},
    tokens=123456,
    supervised_tokens=45678,
    longest=512,
    overflow_rows=7,
    overflow_rows_left_out=7,
    overflow_supervised_tokens=1234,
    overflow_validation_rows=2,
    fingerprint="f",
    format_runs=[
        FormatRun("alpaca", "a.jsonl:1", "a.jsonl:120", 120, FIELDS),
        FormatRun("sharegpt", "a.jsonl:121", "a.jsonl:140", 20, "conversations"),
        FormatRun("alpaca", "a.jsonl:141", "a.jsonl:141", 1, FIELDS),
    ],
    mixed=[MixedIn("owner/general", 30, 25)],
    bad_rows=14,
    bad_examples=[f"a.jsonl:{number}: no field 'output'" for number in range(2, 12)],
    proof=Proof(330, 13, 317, 0.0, 0.31, [ProofProblem("an answer is dropped", 13, ["a.jsonl:7", "a.jsonl:8"])]),
    lengths=Lengths(100, 300, 480, 1500, [500, 1000, 1500], [80, 0, 1], 512, 1536, 9999, 4000, 0.23),
    findings=[
        Finding(
            "contradictions",
            Severity.serious,
            12,
            "12 rows ask the same and answer differently",
            "Decide which answer is right",
            [f"a.jsonl:12: Name it {SCRIPT}", "a.jsonl:13: x", "a.jsonl:14: y", "a.jsonl:15: z"],
        ),
        Finding("duplicates", Severity.warning, 40, "40 rows are twice there", "Remove them", [f"a.jsonl:3: {ESCAPE}"]),
        Finding("languages", Severity.note, 30, "30 rows are Cyrillic", "Nothing, if so meant", ["a.jsonl:9: ы"]),
    ],
    view=[ViewedRow("a.jsonl:1", [Piece(f"{SCRIPT}\t{ESCAPE}\n", False), Piece("x" * 700, True)])],  # noqa: FBT003
    cached=True,
)
"""Data with which everything is wrong that can be."""
CLIMBED = TrainResult(
    4, 1.0, 0.5, 0.25, 2.0, 100, 40, 3, 9, 1024, "checkpoint",
    oom_fallbacks=["training step 2: 1 row in a pass instead of 2", "training step 3: gradient checkpointing"],
)  # fmt: skip
"""A training that ran out of memory twice and continued."""
SPIKE = TrainingIssue(
    "spike", 2, "the loss jumped to 6.3 from about 0.4", f"Look at the rows of this step {SCRIPT}", Action.warn
)
RISE = TrainingIssue("rising_eval_loss", 3, "the validation loss rose", "Fewer epochs", Action.stop)
AILING = dataclasses.replace(
    CLIMBED,
    oom_fallbacks=[],
    issues=[SPIKE, RISE],
    stopped="step 3, rising_eval_loss: it rose",
    best_step=2,
    best_value=0.5,
)
"""A training in which two things went wrong."""
