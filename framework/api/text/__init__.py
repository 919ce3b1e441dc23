"""Human-readable texts: what a run found, needs and resulted in; numbers, overrides, errors; without secrets.

All loggers use these texts, each in its own format.
"""

from framework.api.fields import as_text as as_text
from framework.api.text import forecast as forecast
from framework.api.text.overrides import *
from framework.api.text.progress import *
from framework.api.text.results import *
from framework.api.text.sweeps import *
from framework.util.command import shell_word as shell_word
from framework.util.command import this_program as this_program
from framework.util.errors import display_path as display_path
from framework.util.errors import display_run as display_run
from framework.util.errors import error_location as error_location
from framework.util.errors import error_traceback as error_traceback
from framework.util.errors import nearest as nearest
from framework.util.errors import signal_name as signal_name
from framework.util.errors import summarize_error as summarize_error
from framework.util.errors import unknown as unknown
from framework.util.redact import HIDDEN as HIDDEN
from framework.util.redact import fill_in as fill_in
from framework.util.redact import hide as hide
from framework.util.redact import redact as redact
