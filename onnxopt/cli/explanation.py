"""What each pass did and would not do, as people read it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxopt.guard import printable

if TYPE_CHECKING:
    from onnxopt.api.explaining import Account, Reason

_INDENT = " " * 6


def describe_accounts(accounts: Sequence[Account], width: int) -> Iterator[str]:
    """Hits (+) and refusals (-) of each pass by reason, then the passes that found nothing."""
    idle = [account.step for account in accounts if not (account.applied or account.refused)]
    for account in accounts:
        if account.applied or account.refused:
            yield from _account(account, width)
    if idle:
        yield from textwrap.wrap(
            f"nothing to do for {', '.join(idle)}", width, subsequent_indent="  "
        )


def _account(account: Account, width: int) -> Iterator[str]:
    hits, misses = _count(account.applied), _count(account.refused)
    runs = "1 run" if account.runs == 1 else f"{account.runs} runs"
    yield (
        f"{account.step} ({account.exactness.value}): {hits} applied, {misses} refused, "
        f"{runs}, {account.seconds:.2f} s"
    )
    for mark, reasons in (("+", account.applied), ("-", account.refused)):
        for reason in reasons:
            yield from _reason(mark, reason, width)


def _reason(mark: str, reason: Reason, width: int) -> Iterator[str]:
    text = printable(reason.text)
    if len(reason.nodes) == 1:
        yield f"  {mark} {printable(reason.nodes[0])}: {text}"
        return
    yield f"  {mark} {text} ({len(reason.nodes)}):"
    names = ", ".join(printable(node) for node in reason.nodes)
    yield from textwrap.wrap(
        names,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(reasons: Sequence[Reason]) -> int:
    return sum(len(reason.nodes) for reason in reasons)
