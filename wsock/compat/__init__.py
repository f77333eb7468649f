"""Modules with the names of other libraries, for programs that change one import."""
