"""Paths are refused by who reads them, in one line: typer says it in four, with the usage."""

import typer

from ffprof.cli.main import make_app


def test_no_file_to_be_read_is_looked_at_by_typer():
    commands = typer.main.get_command(make_app(debug=False)).commands
    asked = {
        f"{name} {one.name}": one.type.readable
        for name, command in commands.items()
        for one in command.params
        if hasattr(one.type, "readable") and one.name not in ("out", "plot", "snapshot")
    }
    assert {"report file", "run resume", "run card_file", "frontier resume"} <= asked.keys()
    assert not [name for name, readable in asked.items() if readable]
