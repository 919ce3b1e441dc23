"""`exporter=decide`: how an exported model is asked, in a file beside it."""

from __future__ import annotations

from framework.api import Artifact, ExportContext, Exporter, Model, write_json
from framework_plugins.decide.config import OPTIONS, PREFIX, TEXT, DecideExporterConfig, DecideFormatConfig

SCORING = (
    "fill {options} with a line '- OPTION' for each option and {text} with the text, write it as the user's turn by "
    "the chat template, add the log-probabilities of the tokens of each option to the end of the turn, divide by the "
    "temperature, and take the softmax over the options; the model is sure if the softmax without the temperature "
    "reaches the threshold"
)


class Decide(Exporter):
    """The question, the options, the temperature and the threshold of the promise."""

    def __init__(self, config: DecideExporterConfig) -> None:
        self.config = config

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the file."""
        settings: DecideFormatConfig = context.plan.format.config
        measured = context.report().metrics
        temperature, threshold = (measured.get(f"{PREFIX}{name}") for name in ("temperature", "threshold"))
        file = context.run_dir / self.config.file
        write_json(
            file,
            {
                "question": settings.question,
                "places": [OPTIONS, TEXT],
                "options": settings.labels,
                "system_prompt": settings.system_prompt,
                "temperature": temperature.after if temperature else 1.0,
                "threshold": threshold.after if threshold else None,
                "turn_ends_with": sorted(model.stop_ids),
                "scoring": SCORING,
            },
        )
        return [Artifact("decide", self.config.file, file.stat().st_size)]
