"""What is wrong with this machine for measuring, and what to do about it.

Facts are read first (``readers``; ``pytorch`` reads in a child), then judged by pure functions
(``rules``), one for each topic; ``diagnosis`` goes through them all.
"""
