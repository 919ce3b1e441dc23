"""`data=hub`: a data set of the Hugging Face Hub, through `datasets`."""

from __future__ import annotations

import logging
import sys

from datasets import disable_progress_bars, load_dataset
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from framework.errors import FrameworkError, one_line
from framework.network import reachable
from framework.records import RawData, Row
from framework_formats.config import HubConfig


class Hub:
    """A source of rows on the Hub. Code that comes with a data set is never run."""

    def __init__(self, config: HubConfig) -> None:
        self.config = config

    def load(self) -> RawData:
        """Download the split, or take it from the cache.

        Raises:
            FrameworkError: there is no such data set, split or network.
        """
        asked = self.config
        if not sys.stderr.isatty():
            disable_progress_bars()
        if not reachable(ENDPOINT):
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would announce each of five retries
            print("the Hub cannot be reached; looking for the data set in the cache …", file=sys.stderr)  # noqa: T201
        try:
            rows = load_dataset(asked.path, asked.name, split=asked.split, revision=asked.revision)
        except DatasetNotFoundError as error:
            message = f"data.path={asked.path}: the Hub has no such data set, or it is gated and you are not logged in"
            raise FrameworkError(message) from error
        except (ConnectionError, OfflineModeIsEnabled, HfHubHTTPError) as error:
            message = f"data.path={asked.path}: the Hub cannot be reached and nothing is cached ({one_line(error)})"
            raise FrameworkError(message) from error
        except (ValueError, DatasetsError, FileNotFoundError) as error:
            message = f"data.path={asked.path}, data.split={asked.split}: {one_line(error)}"
            raise FrameworkError(message) from error
        return RawData([Row(row, f"{asked.path}[{number}]") for number, row in enumerate(rows)])
