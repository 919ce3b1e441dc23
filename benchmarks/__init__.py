"""Programs that measure, and where the numbers of the documentation come from; README.md describes each."""
