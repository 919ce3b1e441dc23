"""What a GPU does: `bench-gpu` measures training on it beside other tools, and `test-gpu` tests it.

`bench-gpu` runs each contender in a process of its own, the peers in environments that the command makes. `peers/` are
scripts, which import no framework; `prepare.py` writes the random weights and the rows that all of them train on;
`results.py` is the file that a user can send, and `report.py` the table of any number of such files.
"""
