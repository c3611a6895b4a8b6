"""The version of ffprof."""

__version__ = "0.1.0"
