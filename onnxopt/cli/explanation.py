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
        yield from _wrapped(f"nothing to do for {', '.join(idle)}", width, "  ")


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
    yield from _wrapped(_INDENT + names, width, _INDENT)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most a width, names kept whole."""
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(text)


def _count(reasons: Sequence[Reason]) -> int:
    return sum(len(reason.nodes) for reason in reasons)
