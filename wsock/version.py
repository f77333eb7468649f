"""The version of wsock."""

__version__ = "0.1.0.dev0"
