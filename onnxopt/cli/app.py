"""The command group, loaded lazily, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import importlib
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import click

from onnxopt.errors import OnnxoptError
from onnxopt.startup import compute_alone, leave_objects, prepare_process

COMMANDS = {
    "inspect": "Show what is in a model.",
    "export": "Turn a model of any framework into one verified ONNX file.",
    "optimize": "Rewrite a model exactly, verify it and write it.",
    "quantize": "Quantize a model to int8, verify it and write it.",
    "prune": "Take weights out of a model, verify it and write it.",
    "recover": "Train a pruned or quantized model to do what the original does.",
    "distill": "Train another model to do what a teacher does.",
    "compare": "Run two models on data and say how they differ.",
    "benchmark": "Time models, interleaved, each in a process of its own.",
    "package": "Put a model into a bundle with samples and a runner.",
    "verify": "Check a bundle: hashes and golden samples.",
    "passes": "List and explain the passes.",
    "models": "List and fetch real models to work with.",
    "demo": "The whole job on the embedded model.",
    "run": "Do what a job file says.",
}

_WITHOUT_ALGEBRA = frozenset({"inspect", "models", "optimize", "package", "passes", "verify"})


class LazyGroup(click.Group):
    """Imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of a working day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in _WITHOUT_ALGEBRA:
            compute_alone()
        module = importlib.import_module(f"onnxopt.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("onnxopt"), prog_name="onnxopt")
def cli() -> None:
    """Give it a trained ONNX model, a little data and a budget.

    Get back the fastest package for your device that stays inside the budget, verified, measured
    and explained.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code of DESIGN's table."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_process()
    with _ending_in_order():
        code = _run(words)
    if arguments is None:
        leave_objects()
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    """The process was told to end. No SystemExit: that, a pass raises by itself, and is blamed."""


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """End in order when told to: temporary files and child processes go too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _run(words: list[str]) -> int:
    try:
        cli.main(args=words, prog_name="onnxopt", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt) as error:
        return _stopped(error)
    except BrokenPipeError:
        return 141
    except OnnxoptError as error:
        return _fail(str(error), error.exit_code, words)
    except MemoryError:
        return _fail("out of memory; give the machine more or the model smaller inputs", 7, words)
    except OSError as error:
        return _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 3, words)
    except Exception as error:  # noqa: BLE001 - the last resort: one line, traceback with -vv
        text = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
        return _fail(f"{text}; run again with -vv and report it", 1, words)
    return 0


def _stopped(error: BaseException) -> int:
    if isinstance(error, _Terminated) or isinstance(error.__cause__, _Terminated):
        return 128 + signal.SIGTERM
    click.echo("onnxopt: interrupted", err=True)
    return 130


def _fail(message: str, code: int, words: list[str]) -> int:
    if sum(len(word) - 1 for word in words if re.fullmatch("-v+", word)) > 1:
        traceback.print_exc()
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
    click.echo(f"onnxopt: {safe}", err=True)
    return code
