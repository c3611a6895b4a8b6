"""``python -m ffprof``."""

from ffprof.cli.main import main

if __name__ == "__main__":
    main()
