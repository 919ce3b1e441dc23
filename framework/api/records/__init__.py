"""The frozen values that pass between the stages; the results of a stage are saved as `<stage>.json`."""

from framework.api.records.data import *
from framework.api.records.health import *
from framework.api.records.planned import *
from framework.api.records.progress import *
from framework.api.records.results import *
from framework.api.records.rows import *
from framework.api.records.saving import *
from framework.api.records.sweep import *
from framework.api.schema import Aspect as Aspect
