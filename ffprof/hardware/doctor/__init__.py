"""What is wrong with this machine for measuring, and what to do about it.

Facts are read first (``software``, ``host``, ``activity``, ``nvml_facts``, and ``torch_facts`` in a
child), then judged by pure functions (``rules_...``), one for each topic; ``diagnose`` goes through
them all.
"""
