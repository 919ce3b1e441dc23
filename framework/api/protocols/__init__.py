"""What the code behind each option must provide. A factory named by a `Component` is called with the option's config.

The protocols say what is called, in which order, and what it may raise. `FrameworkError` is for what a user can fix.
"""

from framework.api.protocols.evaluation import *
from framework.api.protocols.exports import *
from framework.api.protocols.model import *
from framework.api.protocols.objectives import *
from framework.api.protocols.observers import *
from framework.api.protocols.program import *
from framework.api.protocols.rewards import *
from framework.api.protocols.sources import *
from framework.api.protocols.training import *
