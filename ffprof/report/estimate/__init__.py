"""Reports of ``ffprof estimate``."""
