"""The gates of ``ffprof check``: a new record held against a baseline."""
