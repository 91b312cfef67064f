"""Runs the command line in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from onnxopt.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The last line on standard error."""
        return self.err.strip().splitlines()[-1]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run ``onnxopt ARGUMENTS``."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    code = caught.value.code
    return Outcome(int(code or 0), captured.out, captured.err)
