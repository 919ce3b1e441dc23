"""Gives trackio a store of the tests' own. It reads the variable when it is imported, so no fixture does this."""

import atexit
import os
import shutil
import tempfile

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio-")
atexit.register(shutil.rmtree, os.environ["TRACKIO_DIR"], ignore_errors=True)
os.environ["HF_HUB_OFFLINE"] = "1"  # trackio asks the Hub for the user's name where a token is set
for name in [name for name in os.environ if name.startswith("TRACKIO_") and name != "TRACKIO_DIR"]:
    del os.environ[name]
