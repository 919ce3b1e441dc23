"""The folder of a run: what is written into it and read back, its status, what the run was made with.

Imports: `config` and below.
Start with `folder.py`; what plugins may read of it is `api/run_folder.py`.
"""
