"""Shows what a pipeline does while it works, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.markup import escape

from onnxopt.guard import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from onnxopt.cli.settings import Settings
    from onnxopt.transform import Pass, StepResult


class Watch:
    """A live display that is both a pipeline observer and a progress callback.

    On a terminal it draws a bar for the step at hand; each finished step that did something, or
    refused something worth knowing, leaves a line. Elsewhere only the lines appear.
    """

    def __init__(self, settings: Settings) -> None:
        self._console = settings.errors
        self._verbosity = settings.verbosity
        self._seen: set[str] = set()
        drawn = self._console.is_terminal and settings.verbosity >= 0
        self._bars = _bars(self._console) if drawn else None

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.add_task("starting", total=None)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        if self._bars is not None:
            (task,) = self._bars.task_ids
            self._bars.update(task, description=escape(what), completed=done, total=total or None)

    def stage(self, what: str, done: int, total: int) -> None:
        """Move the bar; where there is no terminal to draw it on, leave a line."""
        self.progress(what, done, total)
        if not self._console.is_terminal and done < total:
            self.line(f"  {what} …")

    def step_started(self, step: Pass) -> None:
        """Name the pass at hand."""
        self.progress(step.name, 0, 0)

    def step_finished(self, result: StepResult) -> None:
        """Leave a line for a step that did something, or, once, for one that only refused."""
        news = result.refused and result.step not in self._seen
        if result.changed or self._verbosity > 0 or news:
            self._seen.add(result.step)
            self._console.print(f"  {escape(_summary(result))}")
        if self._verbosity > 0:
            for note in result.notes:
                mark = "+" if note.kind == "applied" else "-"
                text = f"{mark} {printable(note.node)}: {printable(note.reason)}"
                self._console.print(f"      {escape(text)}")

    def remark(self, text: str) -> None:
        """Say what the pipeline has to say."""
        self._console.print(f"[yellow]note[/]: {escape(text)}")

    def line(self, text: str) -> None:
        """Leave a line."""
        self._console.print(escape(text))


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def watching(settings: Settings, title: str) -> Iterator[Watch]:
    """Show progress for a block of work."""
    with Watch(settings) as watch:
        watch.line(title)
        yield watch


def _summary(result: StepResult) -> str:
    before, after = result.before.nodes, result.after.nodes
    nodes = f"{before} nodes" if before == after else f"{before} → {after} nodes"
    refused = f", {result.refused} refused" if result.refused else ""
    text = f"{result.step}: {result.applied} applied{refused}, {nodes}, {result.seconds:.2f} s"
    if result.changed or not result.refused:
        return text
    first = next(note for note in result.notes if note.kind == "refused")
    return f"{text} ({printable(first.node)}: {printable(first.reason)})"
