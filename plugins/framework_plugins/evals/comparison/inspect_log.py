"""Logs of inspect: `.eval`, a zip archive, and `.json`. inspect_ai itself is not needed.

Of an archive, the header and the summaries of its samples are read and no transcript, so it may be of any size.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import display_path, short_repr
from framework_plugins.evals.comparison.evaluations import (
    Evaluation,
    Item,
    Scores,
    Texts,
    cluster_of,
    content,
    direction,
    figure,
    measured,
    number_of,
    own_error,
    readable,
    texts_in,
    twice,
)

if sys.version_info >= (3, 14):
    import zipfile

    from compression import zstd
else:
    from backports import zstd
    from backports.zstd import zipfile

VERSION = 2
"""The version of inspect's log format that is read."""
MOST_JSON = 1 << 28
"""Bytes of JSON that are decoded at once, 256 MiB."""
HEADER, SUMMARIES, START = "header.json", "summaries.json", "_journal/start.json"
GRADES = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What inspect makes of letters and words."""
SHARED_CHARACTERS = 1_000
"""Characters of a text that are compared: the summaries of an archive cut longer ones."""
MEANS = ("accuracy", "mean")
"""inspect's metrics that are the mean of the items."""


def logs_in(folder: Path) -> list[Path]:
    """Return the logs in a folder."""
    return sorted(file for ending in ("*.eval", "*.json") for file in folder.glob(ending) if is_log(file))


def is_log(file: Path) -> bool:
    """Whether a file is named, or begins, as a log of inspect does.

    Raises:
        FrameworkError: it cannot be read.
    """
    if file.suffix == ".eval":
        return True
    try:
        with file.open("rb") as opened:
            head = opened.read(200).decode(errors="ignore")
    except OSError as error:
        raise FrameworkError(f"{display_path(file)} cannot be read: {error.strerror}") from error
    return file.suffix == ".json" and '"version"' in head and '"status"' in head


def read(path: Path, files: Sequence[Path], cluster: str, *, texts: bool) -> Evaluation:
    """Read the logs of one system, one for each task.

    Raises:
        FrameworkError: a log has not ended or has another version, or a sample is there twice.
    """
    evaluation = Evaluation(display_path(path), "inspect")
    logs = [(file, *(_archive(file) if file.suffix == ".eval" else _json(file))) for file in files]
    names = [str(header["eval"]["task"]) for _, header, _ in logs]
    for name in names:
        if names.count(name) > 1:
            raise FrameworkError(
                f"{display_path(path)} has {names.count(name)} logs of the task {name}: name one of the files"
            )
    text_store = Texts()
    for name, (file, header, samples) in zip(names, logs, strict=True):
        prefix = f"{name}." if len(names) > 1 else ""
        evaluation.versions[f"task {name}"] = str(header["eval"].get("task_version", ""))
        scores = _scores(file, name, samples, cluster, evaluation, text_store if texts else Texts(0))
        for measure, items in scores.items():
            _add_measure(evaluation, prefix + measure, measure, items, header)
    return evaluation


def _archive(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {*archive.namelist()}
            if HEADER not in names or SUMMARIES not in names:
                reason = "the evaluation has not ended" if START in names else "inspect did not write it"
                raise FrameworkError(f"{display_path(file)} has no {HEADER} and {SUMMARIES}: {reason}")
            return _check_header(file, _member(archive, HEADER, file)), _member(archive, SUMMARIES, file)
    except (zipfile.BadZipFile, zstd.ZstdError, zlib.error, EOFError, NotImplementedError) as error:
        raise FrameworkError(f"{display_path(file)} is damaged ({error}): was it copied in part?") from error
    except OSError as error:
        raise FrameworkError(f"{display_path(file)} cannot be read: {error.strerror or error}") from error


def _member(archive: zipfile.ZipFile, name: str, file: Path) -> Any:
    with archive.open(name) as member:
        text = member.read(MOST_JSON + 1)
    if len(text) > MOST_JSON:
        raise FrameworkError(f"{display_path(file)}: {name} has more than {MOST_JSON >> 20} MiB")
    return _parse_json(text, f"{display_path(file)}: {name}")


def _json(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if file.stat().st_size > MOST_JSON:
        raise FrameworkError(
            f"{display_path(file)} has more than {MOST_JSON >> 20} MiB of JSON, which is read as a whole. An .eval log "
            "may have any size: inspect log convert --to eval --output-dir FOLDER FILE"
        )
    log = _parse_json(file.read_bytes(), display_path(file))
    return _check_header(file, log), log.get("samples") or []


def _parse_json(text: bytes, location: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameworkError(f"{location} is not valid JSON ({error}): was it copied in part?") from error


def _check_header(file: Path, header: Any) -> dict[str, Any]:
    path = display_path(file)
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict) or "task" not in header["eval"]:
        raise FrameworkError(f"{path} is not a log of inspect: it has no 'eval' with a 'task'")
    if header.get("version") != VERSION:
        raise FrameworkError(
            f"{path} has version {header.get('version')} of inspect's log format, and version {VERSION} is read: "
            "convert it with a newer inspect, `inspect log convert`"
        )
    status = header.get("status")
    if status == "started":
        raise FrameworkError(f"{path}: the evaluation has not ended")
    if status != "success":
        error = header.get("error")
        reason = str(error.get("message") if isinstance(error, dict) else error or status).strip().partition("\n")[0]
        raise FrameworkError(
            f"{path}: the evaluation failed, status {short_repr(status)} ({reason}), so its samples are not all that "
            "were to be asked: evaluate again, `inspect eval-retry`"
        )
    return header


def _scores(
    file: Path, task: str, samples: Sequence[Mapping[str, Any]], cluster: str, evaluation: Evaluation, text_store: Texts
) -> dict[str, dict[str, list[float | None]]]:
    """Return the scores by measure and sample, one for each epoch, and add the samples to those that are known."""
    scores: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    sample_epochs = dict[tuple[str, int], None]()
    words = dict[str, str]()
    for index, sample in enumerate(samples, start=1):
        where = f"{display_path(file)}: sample {index}"
        if not isinstance(sample, dict) or "id" not in sample or "input" not in sample:
            raise FrameworkError(f"{where} has no 'id' and 'input'")
        key, epoch = f"{task}/{sample['id']}", int(sample.get("epoch") or 1)
        if (key, epoch) in sample_epochs:
            raise twice(where, f"epoch {epoch} of the sample {sample['id']}")
        sample_epochs[key, epoch] = None
        prompt_texts = [*_input(sample["input"]), *texts_in(sample.get("choices"))]
        target = "\n".join(texts_in(sample.get("target")))
        if key not in evaluation.items:
            group = cluster_of(sample.get("metadata") or {}, cluster, where)
            text = text_store.kept("\n".join(prompt_texts)) if text_store.left > 0 else ""
            shared = [part[:SHARED_CHARACTERS] for part in (*prompt_texts, target)]
            evaluation.items[key] = Item(content(shared), text, target, group)
        for measure, value in _values(sample.get("scores") or {}):
            grade = _grade(value)
            if grade is None and isinstance(value, str):
                words[measure] = value
            scores[measure][key].append(grade)
    for measure, value in words.items():
        del scores[measure]
        evaluation.notes.append(f"not compared: {measure}; its scores are texts, such as {value[:20]!r}")
    keys = dict.fromkeys(key for key, _ in sample_epochs)
    # A sample that failed has no score.
    return {measure: {key: items.get(key, []) for key in keys} for measure, items in scores.items()}


def _input(value: Any) -> Iterator[str]:
    """Give the texts of an input, which is a text or messages."""
    if isinstance(value, str):
        yield readable(value)
        return
    for message in value if isinstance(value, list) else ():
        message_content = message.get("content") if isinstance(message, dict) else None
        if isinstance(message_content, str):
            yield message_content
        elif isinstance(message_content, list):
            yield from (
                part["text"] for part in message_content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )


def _values(scores: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give the value of each measure: a scorer may give several."""
    for scorer, score in scores.items():
        value = score.get("value") if isinstance(score, dict) else score
        if isinstance(value, dict):
            yield from ((f"{scorer}.{name}", part) for name, part in value.items())
        elif not isinstance(value, list):
            yield scorer, value


def _grade(value: Any) -> float | None:
    if not isinstance(value, str):
        return number_of(value)
    if value.casefold() in GRADES:
        return GRADES[value.casefold()]
    try:
        return number_of(float(value))
    except ValueError:
        return None


def _add_measure(
    evaluation: Evaluation,
    name: str,
    measure: str,
    items: Mapping[str, Sequence[float | None]],
    header: Mapping[str, Any],
) -> None:
    values = [_mean(epochs) for epochs in items.values()]
    scores = [value for value in values if value is not None]
    if not scores:
        evaluation.notes.append(f"not compared: {name}; no sample has a score")
        return
    printed, error, metric = _printed_mean(measure, header)
    # A grade such as C, and an accuracy, are right or wrong.
    up = True if metric == "accuracy" else direction(measure)
    middle = sum(scores) / len(scores)
    if printed is None:
        error = own_error(scores)
    elif abs(printed - middle) > 1e-6 * max(1.0, abs(middle)):
        evaluation.notes.append(
            f"{name}: inspect prints {printed:.3f}, and the mean of the items is {middle:.3f}: some samples have no "
            "score, or the epochs are reduced to something else than their mean"
        )
    text = figure(middle if printed is None else printed, error, 3)
    evaluation.measures[name] = Scores(measured(values, higher_is_better=up), [*items], up, text, error)


def _mean(epochs: Sequence[float | None]) -> float | None:
    """Return the mean of the epochs with a score: they ask one question, so they are one item."""
    scores = [value for value in epochs if value is not None]
    return sum(scores) / len(scores) if scores else None


def _printed_mean(measure: str, header: Mapping[str, Any]) -> tuple[float | None, float | None, str]:
    """Return the mean that inspect prints, its standard error, and the name of the metric."""
    scorer, _, part = measure.partition(".")
    for score in (header.get("results") or {}).get("scores") or []:
        if score.get("name") in {measure, part} - {""} and score.get("scorer", scorer) in {scorer, measure}:
            metrics = score.get("metrics") or {}
            for name in MEANS:
                if name in metrics:
                    return number_of(metrics[name].get("value")), _metric_value(metrics.get("stderr")), name
    return None, None, ""


def _metric_value(metric: Any) -> float | None:
    return number_of(metric.get("value")) if isinstance(metric, dict) else None
