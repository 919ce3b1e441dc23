"""Data sources and formats. Reads files with the standard library; the Hub source loads `datasets` when it is used."""
