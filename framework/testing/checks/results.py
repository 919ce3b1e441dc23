"""What a plugin's sources and exporters return when they are used: rows, artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from framework.api.protocols import ExportContext
from framework.testing.checks.hooks import Offer
from framework.testing.echo import EchoBackend, plan
from framework.testing.suites.base import ROWS, data_words
from framework.util.errors import FrameworkError, error_location, summarize_error


def problems(offer: Offer, product: Any) -> Iterator[str]:
    """Load the rows of a source; export a tiny model, which has no real weights, with an exporter."""
    looks = {"data": _rows, "exporter": _artifacts}
    if look := looks.get(offer.group.name):
        try:
            look(offer.component.name, product)
        except FrameworkError as error:
            yield str(error)


def _rows(name: str, source: Any) -> None:
    from framework.data import sources  # noqa: PLC0415 - numpy, which a plugin must not import at load

    try:
        raw = source.load()
    except FrameworkError:  # it says that there is nothing to load here, which is not a fault
        return
    except Exception as error:
        raised = f"{summarize_error(error)}{error_location(error)}"
        raise FrameworkError(
            f"data={name}: load raises {raised}: raise FrameworkError for what a user can fix"
        ) from error
    raw_data = sources.named(name, "load", raw)
    is_plain = not raw_data.key and not raw_data.streamed  # a first row costs little if all are hashed one by one
    for part in (raw_data.train, raw_data.validation, raw_data.prompts) if is_plain else ():
        next(iter(part), None)


def _artifacts(name: str, exporter: Any) -> None:
    from framework.run import pipeline  # noqa: PLC0415 - as above
    from framework.run.export import artifacts  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trained = plan([*data_words(root, ROWS), "exporter=[]", "stages=[data,train]"], run_dir=root / "run")
        pipeline.run(trained)
        backend: EchoBackend = trained.trainer.create()
        with backend.open(trained) as model:
            model.restore(trained.checkpoint)
            try:
                result = exporter.export(
                    model, ExportContext(trained.run_dir, trained.checkpoint, trained.config, trained)
                )
                result = list(result) if isinstance(result, Iterator) else result
            except Exception:  # noqa: BLE001 - it may need real weights, which the tests of the plugin give it
                return
    artifacts(name, result)
