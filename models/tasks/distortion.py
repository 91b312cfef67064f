"""A picture as another hand and a worse scanner would have given it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

TURN = math.radians(18)
SCALE, SHIFT = 0.12, 3.5
NOISE_SHAPE, NOISE = 2.0, 0.03

Plane = npt.NDArray[np.float32]
"""One channel, [side, side], 0 is paper and 1 is ink."""


def distorted(picture: Plane, rng: np.random.Generator) -> Plane:
    """Turned by up to 18 degrees, scaled by up to 12 %, shifted by up to 3.5 pixels, with noise.

    The noise is Gaussian; its deviation is drawn from a gamma distribution of mean .06. Equal
    arguments and generator states give equal pixels.
    """
    angle, factor = rng.uniform(-TURN, TURN), 1 + rng.uniform(-SCALE, SCALE)
    shift = rng.uniform(-SHIFT, SHIFT, (2, 1))
    back = factor * np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    deviation = rng.gamma(NOISE_SHAPE, NOISE)
    noise = deviation * rng.standard_normal(picture.shape)
    return np.clip(_resampled(picture, back, shift) + noise, 0, 1).astype(np.float32)


def _resampled(
    picture: Plane, back: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bilinear; a pixel at ``p`` from the middle comes from ``back @ p - shift``, else paper."""
    side = picture.shape[0]
    middle = (side - 1) / 2
    places = back @ (np.indices(picture.shape).reshape(2, -1) - middle) - shift + middle
    framed = np.pad(picture.astype(np.float64), 1)
    places = np.clip(places + 1, 0, side + 1)
    near = np.minimum(places.astype(np.intp), side)
    (row, column), (down, right) = near, places - near
    above = framed[row, column] * (1 - right) + framed[row, column + 1] * right
    below = framed[row + 1, column] * (1 - right) + framed[row + 1, column + 1] * right
    flat: npt.NDArray[np.float64] = above * (1 - down) + below * down
    return flat.reshape(picture.shape)
