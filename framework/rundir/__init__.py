"""The folder of a run: what is written into it and read back, its status, what the run was made with.

`store.py` keeps a folder on an object store. `known.py` has what runs on this machine have shown of rows and speeds,
which lies in the user's cache.

Imports: `config` and below.
Start with `folder.py`; what plugins may read of it is `api/run_folder.py`.
"""
