"""The training methods that ffprof ships, registered exactly as a third party's would be."""
