"""Pages of rendered lines, with where the ink of each line is."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from onnxopt_models.tasks.render import LineRenderer, Look, Pixels, draw_look, with_noise

MARGIN = 8
LEAST_CONTRAST = 24


@dataclasses.dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        pixels: [side, side, 3].
        boxes: Left, top, right and bottom of each line's ink, [lines, 4].
    """

    pixels: Pixels
    boxes: npt.NDArray[np.float32]


def draw_page(
    words: tuple[str, ...], renderer: LineRenderer, rng: np.random.Generator, side: int
) -> Page:
    """A square page: lines of one to five words below each other, all in one font and colour."""
    look = draw_look(rng, len(renderer.font_files))
    clean = dataclasses.replace(look, noise=0.0)
    sheet = np.empty((side, side, 3), np.uint8)
    sheet[:] = look.paper
    boxes: list[tuple[int, int, int, int]] = []
    top = int(rng.integers(MARGIN, 40))
    while True:
        text = " ".join(rng.choice(words, int(rng.integers(1, 6))))
        line = renderer.line(text, clean, rng)[:, : side - 2 * MARGIN]
        left = int(rng.integers(MARGIN, side - line.shape[1] - MARGIN + 1))
        if top + line.shape[0] > side:
            break
        sheet[top : top + line.shape[0], left : left + line.shape[1]] = line
        boxes.append(_ink(line, look, left, top))
        top += line.shape[0] + int(rng.integers(2, 30))
    return Page(with_noise(sheet, look.noise, rng), np.array(boxes, np.float32).reshape(-1, 4))


def _ink(line: Pixels, look: Look, left: int, top: int) -> tuple[int, int, int, int]:
    """The rectangle around everything that differs from the paper."""
    far = np.abs(line.astype(np.int64) - np.array(look.paper)).max(axis=2) > LEAST_CONTRAST
    rows, columns = np.flatnonzero(far.any(axis=1)), np.flatnonzero(far.any(axis=0))
    if not rows.size:
        return left, top, left + line.shape[1], top + line.shape[0]
    return (
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )
