"""The command line: parse, one library call, render. The only code that prints."""

from onnxopt.cli.app import main

__all__ = ["main"]
