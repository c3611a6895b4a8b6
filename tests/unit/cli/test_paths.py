"""Paths are refused by who reads them, in one line: typer says it in four, with the usage."""

import inspect

from ffprof.cli.main import make_app

WRITTEN = ("out", "output", "plot", "snapshot")


def test_no_file_to_be_read_is_looked_at_by_typer():
    asked = {}
    for command in make_app(debug=False).registered_commands:
        name = command.callback.__name__
        for one in inspect.signature(command.callback).parameters.values():
            if "Path" in str(one.annotation) and one.name not in WRITTEN:
                asked[f"{name} {one.name}"] = one.default.readable
    assert {"report file", "run resume", "run card_files", "frontier resume"} <= asked.keys()
    assert not [name for name, readable in asked.items() if readable]
