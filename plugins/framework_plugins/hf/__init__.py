"""Training with Hugging Face's libraries: transformers, peft, TRL, bitsandbytes."""

import logging

# While it is imported, bitsandbytes advises to install a kernel package that no part of a run here needs.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
