"""Data sources and formats. The Hub source loads `datasets` when it is used."""
