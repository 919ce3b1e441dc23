"""framework/testing/suites: each rule of a suite fails on a component that breaks it, and says what is wrong.

The broken components live in a pytest run of their own: a format that claims every row would disturb all other tests.
That the suites pass on what is in order is shown by tests/plugins/test_conformance.py and by the documentation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from framework import testing
from tests.framework.testing.broken import PLUGIN
from tests.framework.testing.test_objective_suites import SEEN
from tests.framework.testing.test_rollout_suite import SEEN as OF_ROLLOUTS
from tests.support.forked_program import forked, trainers

CONFTEST = """
from framework import testing

testing.install()
testing.load_file("broken_options.py")
"""
TESTS = """
from framework.testing import (
    AuditSuite, BackendSuite, CallbackSuite, ExporterSuite, FormatterSuite, LoggerSuite, MetricSuite, OptimizerSuite,
    SamplerSuite, ScheduleSuite, SourceSuite
)
import torch

ALPACA = {"overrides": ["format=alpaca"]}  # the broken formats claim what is not theirs
ROW = {"ask": "Capital of Peru?", "say": "Lima"}
DETAILS = {
    MetricSuite: {"answers": [("yes", None, 1.0), ("no", None, 0.0)], **ALPACA},
    FormatterSuite: {"rows": [{**ROW, "more": "1"}], "broken": [({"say": "Lima"}, "ask")]},
    ExporterSuite: ALPACA,
    LoggerSuite: ALPACA,
    AuditSuite: {
        "faulty": [("wrong", [{"instruction": f"Say {n}", "output": "wrong"} for n in range(3)])],
        "clean": [{"instruction": f"Say {n}", "output": f"it is {n}"} for n in range(3)],
        **ALPACA,
    },
    BackendSuite: ALPACA,
    SourceSuite: {"count": 1, **ALPACA},
    OptimizerSuite: {"torch": torch, **ALPACA},
    ScheduleSuite: ALPACA,
    SamplerSuite: ALPACA,
    CallbackSuite: {"losses": [1.0] * 5, **ALPACA},
}
SUITES = {suite.__name__: suite for suite in DETAILS}


def suite(kind, option, **details):
    base = SUITES[kind]
    name = "Test" + details.pop("name", option)
    globals()[name] = type(name, (base,), {"option": option, **DETAILS[base], **details})


"""

BACKEND = "BackendSuite"
LEARNS = "training_reports_each_step_and_lowers_the_loss"
ENCODING = "two_models_have_one_encoding_which_changes_with_what_is_learned"
LABELS = "the_rows_are_labelled_where_the_assistant_speaks"
ACCUMULATION = "accumulation_is_the_same_training_as_one_large_batch"
ANSWERS = "the_answers_keep_the_order_and_the_limit"
STREAMS = "an_answer_streams_as_it_is_generated"
NAMED = "every_artifact_that_it_names_exists"
WHOLE = "a_whole_run_is_logged_without_an_error"
CONVERSATION = "every_row_becomes_a_conversation"
CASES = [
    (
        "MetricSuite",
        "undecided",
        "it_says_whether_higher_is_better_and_whether_it_needs_a_reference",
        "higher_is_better has to be",
    ),
    ("MetricSuite", "endless", "every_answer_has_a_finite_score", "scores inf, no finite number"),
    ("MetricSuite", "word", "every_answer_has_a_finite_score", "scores True, no finite number"),
    ("MetricSuite", "empty", "every_answer_has_a_finite_score", "ZeroDivisionError"),
    ("MetricSuite", "peeks", "a_reference_it_does_not_need_changes_nothing", "needs_reference is False, yet"),
    ("MetricSuite", "counts", "the_same_answer_has_the_same_score", r"scores 1.0 and \d.0"),
    ("MetricSuite", "ranks", "the_same_answer_has_the_same_score", r"'yes' against None scores 0.0 and \d.0"),
    (
        "MetricSuite",
        "torn",
        "it_says_whether_higher_is_better_and_whether_it_needs_a_reference",
        "exponential has to be True or",
    ),
    ("MetricSuite", "curt", "every_answer_has_a_finite_score", "answers have 1 scores"),
    ("MetricSuite", "lopsided", "every_answer_has_a_finite_score", "answers have 1 weights"),
    (
        "MetricSuite",
        "speechless",
        "the_scores_are_those_that_are_expected",
        "'yes' against None scores None, expected 1.0",
    ),
    (
        "MetricSuite",
        "speechless",
        "it_arrives_in_the_report_before_and_after",
        "report.json has no 'speechless' before and after",
    ),
    ("MetricSuite", "peeks", "the_scores_are_those_that_are_expected", "'yes' against None scores 0.0, expected 1.0"),
    (
        "MetricSuite",
        "fickle",
        "it_arrives_in_the_report_before_and_after",
        "higher_is_better is True, the report says False",
    ),
    ("FormatterSuite", "strict", "odd_rows_are_matched_or_not_without_an_error", r"matches\(\{\}\) raises KeyError"),
    ("FormatterSuite", "vague", "odd_rows_are_matched_or_not_without_an_error", "not True or False"),
    ("FormatterSuite", "trusting", "odd_rows_make_a_conversation_or_a_clear_error", "needs a FrameworkError"),
    ("FormatterSuite", "poet", CONVERSATION, r"the roles are \['poet', 'assistant'\]"),
    ("FormatterSuite", "numbers", CONVERSATION, "a turn is not text"),
    ("FormatterSuite", "unknown", CONVERSATION, "'nobody', the name of no option"),
    ("FormatterSuite", "asks", CONVERSATION, "has to end with an assistant's turn"),
    ("FormatterSuite", "wordy", CONVERSATION, "plain text has no turns, and there are"),
    ("FormatterSuite", "rejects", CONVERSATION, "the rejected turns end with 'user', not the assistant's"),
    ("FormatterSuite", "nameless", CONVERSATION, "a tool has no"),
    ("FormatterSuite", "greedy", "a_row_is_not_changed", "the row was"),
    ("FormatterSuite", "moody", "the_same_row_gives_the_same_conversation", "gives two conversations"),
    ("FormatterSuite", "lenient", "a_broken_row_is_refused_and_the_field_named", "is taken, though 'ask' is broken"),
    ("FormatterSuite", "shy", "auto_recognises_its_rows_and_no_other_format_claims_them", "is recognised by"),
    ("FormatterSuite", "asks", "its_rows_pass_the_data_stage", "has to end with an assistant's turn"),
    ("ExporterSuite", "nothing", NAMED, "the exporter names no artifact"),
    ("ExporterSuite", "kindless", NAMED, "has no kind"),
    ("ExporterSuite", "away", NAMED, "does not lie inside the run folder"),
    ("ExporterSuite", "missing", NAMED, "is not there"),
    ("ExporterSuite", "wrong", NAMED, "has 4 bytes on disk"),
    ("ExporterSuite", "half", "no_partial_file_is_left", "half made and left behind: made.txt.part"),
    ("ExporterSuite", "writes", "the_checkpoint_is_not_changed", "the checkpoint was changed: more.txt"),
    ("ExporterSuite", "once", "a_second_export_replaces_the_first", "the first export gave .*, the second"),
    ("ExporterSuite", "talks", "no_secret_is_exported", "made.txt holds a secret"),
    ("SourceSuite", "placeless", "its_rows_have_fields_and_a_place", "has no place"),
    ("SourceSuite", "readonce", "its_rows_are_the_same_each_time", "gives other rows the second time"),
    ("SourceSuite", "distrusts", "its_check_finds_nothing_wrong", "no row is there"),
    ("SourceSuite", "strange", "a_run_reads_it", "rows:1: .*'instruction'"),
    ("LoggerSuite", "steperror", WHOLE, "the logger raises in TrainingStep: ValueError: no step"),
    ("LoggerSuite", "open", WHOLE, "open after close: run/log.txt"),
    ("LoggerSuite", "unfinished", "a_part_of_the_stages_is_logged_without_an_error", "the logger raises in close"),
    ("LoggerSuite", "early", "a_run_whose_data_are_refused_leaves_nothing", r"the refused run left \['early.txt'\]"),
    ("LoggerSuite", "unready", "a_run_whose_data_are_refused_leaves_nothing", "the logger raises in RunFailed"),
    ("LoggerSuite", "open", "a_run_that_fails_halfway_is_logged_without_an_error", "open after close"),
    (
        "LoggerSuite",
        "carefree",
        "an_issue_of_the_training_is_logged_without_an_error",
        "the logger raises in IssueFound: AttributeError",
    ),
    ("LoggerSuite", "picky", "an_event_that_is_not_known_is_ignored", "makes it raise TypeError: Unknown"),
    ("LoggerSuite", "around", "a_plan_alone_writes_nothing", "written: .*around.txt"),
    (
        "LoggerSuite",
        "finite",
        "numbers_that_are_nan_or_infinite_are_logged_without_an_error",
        "in TrainingStep: ValueError: not finite",
    ),
    (
        "LoggerSuite",
        "unplanned",
        "a_refused_plan_is_logged_without_an_error",
        "'NoneType' object has no attribute",
    ),
    ("LoggerSuite", "opens", "a_continued_run_folder_is_logged_without_an_error", "in RunStarted: FileExistsError"),
    ("LoggerSuite", "retold", "validations_are_logged_with_their_steps", "in TrainingStep: ValueError: again"),
    ("LoggerSuite", "leaks", "no_secret_is_written", "run/log.txt holds a secret"),
    ("LoggerSuite", "tells", "no_secret_is_written", "run/log.txt holds a secret"),
    (
        "LoggerSuite",
        "first",
        "two_runs_in_one_process_are_both_logged",
        r"the first run left \d+ files, the second \d+",
    ),
    ("AuditSuite", "overlooks", "what_is_wrong_is_found", "'wrong' is not found in .* but nothing"),
    ("AuditSuite", "alarms", "clean_rows_have_no_findings", "of clean rows it says: Wrong."),
    ("AuditSuite", "nowhere", "findings_say_how_many_rows_and_what_to_do", "do not say where they are"),
    ("AuditSuite", "sulky", "the_same_rows_have_the_same_findings", "the findings differ"),
    ("AuditSuite", "stumbles", "odd_rows_raise_no_error", "it raises IndexError"),
    (
        BACKEND,
        "factless",
        "the_model_offers_what_the_protocol_asks_for_and_says_what_was_picked",
        "facts says what was",
    ),
    (
        BACKEND,
        "otherway",
        "the_model_offers_what_the_protocol_asks_for_and_says_what_was_picked",
        r"to be loss\(rows\)",
    ),
    (BACKEND, "shifted", LABELS, "row 0: ids and labels differ in length"),
    (BACKEND, "mislabelled", LABELS, "a label is not an id"),
    (BACKEND, "unlearned", LABELS, r"row 0: 0 of \d+ learned"),
    (BACKEND, "unproven", LABELS, "row 0: not proven: no stop token"),
    (BACKEND, "wordblind", "what_is_learned_can_be_read", "what is learned decodes to ''"),
    (BACKEND, "renamed", ENCODING, "encoding differs from one model to the next"),
    (BACKEND, "samename", ENCODING, "encoding is the same with data.learn=last"),
    (BACKEND, "wholerows", LABELS, "learned"),
    (BACKEND, "sorted", LABELS, "encode lost the order"),
    (BACKEND, "drifts", LABELS, "encoding the same examples twice gives different rows"),
    (BACKEND, "mixed", ANSWERS, "the answers do not follow the prompts"),
    (BACKEND, "chatty", ANSWERS, "max_new_tokens=1 gives"),
    (BACKEND, "fewer", ANSWERS, "5 prompts have 4 answers"),
    (BACKEND, "cuts", STREAMS, r"generate says \[.*\], and what is streamed is"),
    (BACKEND, "dices", STREAMS, "one seed draws two answers"),
    (BACKEND, "no_number", LEARNS, "the loss is nan before and nan after"),
    (BACKEND, "lazy", LEARNS, "training did not lower the loss: 1.0 before"),
    (BACKEND, "backwards", LEARNS, r"on_step counts \[12, 11"),
    (BACKEND, "untold", LEARNS, r"on_step counts \[\]"),
    (BACKEND, "miscounts", LEARNS, r"total_steps is \[12\], 999 steps were done"),
    (BACKEND, "unsaved", LEARNS, "train wrote no checkpoint"),
    (BACKEND, "leftover", LEARNS, r"left behind: \['checkpoint.part'\]"),
    (BACKEND, "wordless", LEARNS, "save_tokenizer wrote nothing"),
    (BACKEND, "baseless", "the_base_answers_as_before_inside_as_base", "inside as_base it gives"),
    (
        BACKEND,
        "forgetful",
        "a_checkpoint_gives_the_same_model_in_a_new_process_of_the_backend",
        "trained: .*, restored:",
    ),
    (BACKEND, "random", "one_seed_gives_one_training_of_the_length_asked_for", "one seed gave the losses"),
    (BACKEND, "endlessly", "one_seed_gives_one_training_of_the_length_asked_for", "trainer.max_steps=2 made 5 steps"),
    (
        BACKEND,
        "unscaled",
        ACCUMULATION,
        r"accumulation changes the training: 4 x 1, 2 x 2 and 1 x 4 have the losses \(",
    ),
    (BACKEND, "overlong", ACCUMULATION, r"have the gradient norms \(1.0, 2.0, 4.0\)"),
    (BACKEND, "astray", ACCUMULATION, r"have the scores \("),
    (BACKEND, "deaf", "an_order_to_stop_is_obeyed_before_the_next_step", "told to stop at step 2, it made 12 steps"),
    (
        BACKEND,
        "late",
        "an_order_to_change_the_rate_holds_for_all_steps_that_follow",
        "lowered to a quarter after step 2, the learning rates are",
    ),
    (BACKEND, "keepsnone", "weights_that_are_set_aside_are_those_that_are_trained", "kept at step 2: loss"),
    (
        BACKEND,
        "swallows",
        "what_a_step_raises_ends_the_training_and_nothing_is_saved",
        "on_step raised an error, and train continues",
    ),
    (BACKEND, "held", "the_memory_is_free_after_open", "the model is still held"),
    ("OptimizerSuite", "forgets", "each_weight_is_in_one_group_with_its_rate_and_its_decay", "weights are missing"),
    ("OptimizerSuite", "still", "the_weights_move_and_stay_numbers", "layers.0.weight has not become smaller"),
    ("OptimizerSuite", "stubborn", "a_rate_of_zero_changes_nothing", r"moves with lr=0"),
    ("OptimizerSuite", "oblivious", "it_resumes_bit_for_bit", "differs after its state was saved and put back"),
    (
        "OptimizerSuite",
        "boasts",
        "the_plan_knows_the_bytes_of_its_states_or_says_that_it_does_not",
        "state_bytes is 1,000,000,000, and its states take 0 bytes",
    ),
    ("ScheduleSuite", "wild", "every_step_has_a_factor_from_0_to_1", r"factor\(0, 1, 0, 0.01\) is 2.0"),
    ("ScheduleSuite", "whimsical", "it_is_pure", "are others when they are asked again"),
    (
        "SamplerSuite",
        "scant",
        "the_steps_have_the_right_size_and_rows_that_exist",
        "step 0 of 7 rows has 1 rows, not 2",
    ),
    ("SamplerSuite", "dice", "it_is_pure", "the order is another one when it is asked again"),
    ("SamplerSuite", "again", "each_row_is_seen_once_in_an_epoch", r"an epoch of 7 rows has \[0, 0, 0"),
    ("CallbackSuite", "idle", "it_answers_with_what_can_be_obeyed_and_acts", "it asks for nothing with these losses"),
    ("CallbackSuite", "lost", "it_goes_on_from_its_state", r"and \{'seen': 1\} was saved"),
    ("CallbackSuite", "bomb", "a_run_with_it_ends", "callback.bomb, step 1: on_step fails: LookupError: bang"),
]
OTHERS = [
    (
        *("FormatterSuite", "alpaquita", "Alpaquita", "rows=[{'instruction': 'Add', 'output': '2'}]"),
        *("auto_recognises_its_rows_and_no_other_format_claims_them", "is claimed by .*alpaca"),
    ),
    ("AuditSuite", "overlooks", "Unfed", "clean=()", "there_are_rows_to_test_with", "TestUnfed.clean is empty"),
    ("MetricSuite", "peeks", "Bare", "answers=()", "the_scores_are_those_that_are_expected", "Bare.answers is empty"),
    ("FormatterSuite", "mute", "Rowless", "rows=()", "there_are_rows_to_test_with", "TestRowless.rows is empty"),
    (
        *("FormatterSuite", "mute", "Nameless", "broken=[({'ask': 'x'}, 'say')]"),
        *("a_broken_row_is_refused_and_the_field_named", "the message does not name 'say'"),
    ),
]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the suites on what is broken; return the messages of the tests that failed, by class and test."""
    folder = tmp_path_factory.mktemp("suites")
    lines = [f"suite({kind!r}, {option!r})\n" for kind, option in dict.fromkeys(case[:2] for case in CASES)]
    lines += [f"suite({kind!r}, {option!r}, name={name!r}, {detail})\n" for kind, option, name, detail, *_ in OTHERS]
    (folder / "broken_options.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_broken.py").write_text(TESTS + "".join(lines), encoding="utf-8")
    names = [f"Test{option}::test_{test}" for _, option, test, _ in CASES]
    names += [f"Test{name}::test_{test}" for _, _, name, _, test, _ in OTHERS]
    chosen = [f"test_broken.py::{name}" for name in names]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=.", "-c", os.devnull, "--junitxml=out.xml"]
    options += [
        "--tb=native",
        "--assert=plain",
    ]  # pytest's own tracebacks read the source of each frame, which takes long
    forked(trainers(), ["-m", "pytest", *options, *chosen], folder, dict(os.environ))
    cases = ET.parse(folder / "out.xml").iter("testcase")  # noqa: S314 - pytest's own
    return {
        f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}": "\n".join(
            f"{part.get('message')}\n{part.text}" for part in case
        )
        for case in cases
        if len(case)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "test", "message"),
    [(option, test, message) for _, option, test, message in CASES]
    + [(name, test, message) for _, _, name, _, test, message in OTHERS],
)
def test_a_broken_component_fails_and_is_reported_why(
    failures: dict[str, str], name: str, test: str, message: str
) -> None:
    told = failures.get(f"Test{name}::test_{test}")
    assert told is not None, f"passed; failed are {sorted(failures)}"
    assert re.search(message, told), told[:2000]


def test_every_test_of_every_suite_is_seen_to_fail() -> None:
    seen = {(kind, test) for kind, _, test, _ in CASES} | {(kind, test) for kind, _, _, _, test, _ in OTHERS}
    every = {
        (name, test.removeprefix("test_"))
        for name in testing.__all__
        if name.endswith("Suite")
        for test in vars(getattr(testing, name))
        if test.startswith("test_")
    }
    assert every - seen - SEEN - OF_ROLLOUTS == set()


def test_the_kit_is_imported_without_pytest(tmp_path: Path) -> None:
    code = "import sys, framework.testing; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
