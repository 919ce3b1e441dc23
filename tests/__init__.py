"""A package, so that a folder of tests is never taken for the package of the same name that it tests."""
