"""Character error rate of text recognisers that were trained with CTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt import literal
from onnxopt.errors import DataError, UsageError
from onnxopt.metrics.metric import Metric, Outputs, pick_output

_RANK = 3
Text = str | tuple[int, ...]


def cer(
    *,
    blank: int = 0,
    charset: Sequence[str] | Path | None = None,
    output: str | None = None,
    time_axis: int = 1,
) -> Metric:
    """Edit distance between decoded and wanted text over the wanted length; lower is better.

    Decoding is greedy: the best class of each step, repeats collapsed, blanks dropped (Graves et
    al., 2006). Samples weigh their length, so that the mean over samples is the corpus's rate:
    all edits over all wanted characters.

    Args:
        blank: Class of the blank; negative counts from the last.
        charset: Text of each class in order, without the blank; or a file with one a line. None
            for labels that are sequences of classes instead of text (negative ones are padding).
        output: Scores [batch, time, classes]; the first float output by default.
        time_axis: 1, or 0 for scores [time, batch, classes].

    Raises:
        UsageError: The file cannot be read or ``time_axis`` is neither.
    """
    if time_axis not in (0, 1):
        raise UsageError(f"cer with time_axis={time_axis}", "0 or 1")
    characters = _characters(charset)

    def score(outputs: Outputs, label: Any) -> float:
        scores = pick_output(outputs, output)
        if scores.ndim != _RANK:
            raise DataError(f"scores of shape {list(scores.shape)}", "[batch, time, classes]")
        rows = scores if time_axis == 1 else scores.swapaxes(0, 1)
        wanted = list(_texts(label, len(rows)))
        shift = blank % scores.shape[-1]
        found = [_text_of(ctc_greedy(row, blank), shift, characters) for row in rows]
        edits = sum(edit_distance(f, w) for f, w in zip(found, wanted, strict=True))
        return edits / _length(wanted)

    name = _name(blank, charset, output, time_axis)
    return Metric(name, score, higher_is_better=False, weight=_weight, span=1)


def ctc_greedy(scores: npt.NDArray[Any], blank: int) -> tuple[int, ...]:
    """Classes of one text from scores [time, classes]: best path, repeats collapsed, no blanks."""
    classes = scores.shape[-1]
    if not -classes <= blank < classes:
        raise DataError(f"blank class {blank} of {classes} classes")
    best = scores.argmax(axis=-1)
    changes = np.ones(len(best), dtype=bool)
    changes[1:] = best[1:] != best[:-1]
    return tuple(int(c) for c in best[changes] if c != blank % classes)


def edit_distance(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    """Insertions, deletions and substitutions between two sequences (Levenshtein, 1966)."""
    row = list(range(len(wanted) + 1))
    for i, a in enumerate(found, 1):
        corner, row[0] = row[0], i
        for j, b in enumerate(wanted, 1):
            substituted = corner + (a != b)
            corner = row[j]
            row[j] = min(row[j] + 1, row[j - 1] + 1, substituted)
    return row[-1]


def _characters(charset: Sequence[str] | Path | None) -> tuple[str, ...] | None:
    if charset is None:
        return None
    if not isinstance(charset, Path):
        return tuple(charset)
    try:
        text = charset.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cer: cannot read {charset} ({error})") from error
    return tuple(text.removesuffix("\n").split("\n"))


def _text_of(classes: tuple[int, ...], blank: int, characters: tuple[str, ...] | None) -> Text:
    """Classes as text where there is a charset, which leaves out the blank."""
    if characters is None:
        return classes
    places = [c - (c > blank) for c in classes]
    if max(places, default=0) >= len(characters):
        raise DataError(f"class {max(classes)}, but the charset has {len(characters)} entries")
    return "".join(characters[place] for place in places)


def _texts(label: Any, rows: int) -> Iterator[Text]:
    """One wanted text per row of the batch."""
    single = isinstance(label, str) or (rows == 1 and np.ndim(label) == 1 and not _is_text(label))
    entries = [label] if single else list(label)
    if len(entries) != rows:
        raise DataError(f"{len(entries)} labels for a batch of {rows}")
    for entry in entries:
        yield str(entry) if isinstance(entry, str) else tuple(int(c) for c in entry if c >= 0)


def _is_text(label: Any) -> bool:
    return len(label) > 0 and isinstance(label[0], str)


def _length(wanted: Sequence[Text]) -> int:
    return max(sum(map(len, wanted)), 1)


def _weight(label: Any) -> float:
    if isinstance(label, str):
        return max(len(label), 1)
    if np.ndim(label) == 1 and not _is_text(label) and np.asarray(label).dtype.kind in "iu":
        return max(sum(1 for c in label if c >= 0), 1)
    return sum(_weight(entry) for entry in label)


def _name(
    blank: int, charset: Sequence[str] | Path | None, output: str | None, time_axis: int
) -> str:
    options = {"blank": blank, "charset": charset, "output": output, "time_axis": time_axis}
    defaults = {"blank": 0, "charset": None, "output": None, "time_axis": 1}
    parts = [f"{k}={literal.spell(v)}" for k, v in options.items() if v != defaults[k]]
    return f"cer{{{', '.join(parts)}}}" if parts else "cer"
