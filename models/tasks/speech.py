"""Streams of speech: clean clips between gaps, noise over everything, a label for each frame."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxopt.errors import DataError

RATE = 16000
FRAME = 512
LEAST_SECONDS = 0.6
GAP_SECONDS = (0.3, 2.0)
SNR_DB = (-8.0, 6.0)
SPEECH_DB = -30.0
"""A frame within so much of its clip's loud frames is speech."""
_LOUD_QUANTILE = 0.95
_HALF_BAND_TAPS = 63
_SPEECH_RMS = 0.06
_COLOURS = (0.0, 0.5, 1.0)
"""How noise falls off: its amplitude goes by frequency to the minus this; white, pink, brown."""

Wave = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording.

    Attributes:
        samples: At ``RATE``, of one speech level for all clips.
        speech: Whether somebody speaks, for each whole or begun frame of 512.
    """

    samples: Wave
    speech: Flags


def read_clip(content: bytes, name: str) -> Clip | None:
    """A clip from a WAV file of one channel, 16 bits, 8 or 16 kHz; None where it is too short.

    Raises:
        DataError: It is no such file.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            kind = (file.getnchannels(), file.getsampwidth())
            rate, count = file.getframerate(), file.getnframes()
            raw = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name} is no WAV file: {error}") from error
    if kind != (1, 2) or rate not in (RATE, RATE // 2):
        raise DataError(f"{name}: {kind[0]} channels, {8 * kind[1]} bits, {rate} Hz")
    samples = np.frombuffer(raw, "<i2").astype(np.float64) / 32768
    if len(samples) < LEAST_SECONDS * rate:
        return None
    samples = samples if rate == RATE else doubled(samples)
    power = frame_power(samples)
    speech = speech_frames(power)
    level = float(np.sqrt(power[speech].mean())) if speech.any() else 0.0
    return Clip(samples * (_SPEECH_RMS / level), speech) if level > 0 else None


def doubled(samples: Wave) -> Wave:
    """Twice the rate: zeros in between, then a half-band low-pass (a sinc in a Hann window)."""
    stretched = np.zeros(2 * len(samples))
    stretched[::2] = samples
    at = np.arange(_HALF_BAND_TAPS) - _HALF_BAND_TAPS // 2
    taps = np.sinc(at / 2) * np.hanning(_HALF_BAND_TAPS + 2)[1:-1]
    return np.convolve(stretched, taps, mode="same")


def frame_power(samples: Wave) -> Wave:
    """The mean square of each frame; the last one is filled up with zeros."""
    padded = np.pad(samples, (0, -len(samples) % FRAME))
    power: Wave = np.square(padded.reshape(-1, FRAME)).mean(axis=1)
    return power


def speech_frames(power: Wave) -> Flags:
    """Frames that are loud enough beside the loud ones of the same clip."""
    loud = float(np.quantile(power, _LOUD_QUANTILE))
    return np.asarray(power > loud * 10 ** (SPEECH_DB / 10))


def streams(
    clips: Sequence[Clip], lengths: Sequence[int], seed: int
) -> Iterator[tuple[Wave, Flags]]:
    """Noisy streams of so many frames each, and where in them somebody speaks.

    Every clip is used once at most. Noise of one colour covers a whole stream, at a level drawn
    for it, so that the loudness of a frame does not tell speech.

    Raises:
        DataError: The clips do not last.
    """
    order = iter(np.random.default_rng([seed, 20]).permutation(len(clips)))
    for number, length in enumerate(lengths):
        rng = np.random.default_rng([seed, 21, number])
        samples, speech, at = np.zeros(length * FRAME), np.zeros(length, np.bool_), 0
        while (at := at + int(rng.uniform(*GAP_SECONDS) * RATE / FRAME)) < length:
            index = next(order, None)
            if index is None:
                possible = sum(lengths[:number])
                raise DataError(
                    f"the {len(clips)} clips do not last for {sum(lengths)} frames",
                    wanted=f"{possible} or fewer",
                )
            at = _put(clips[index], samples, speech, at)
        yield _noisy(samples, rng), speech


def _put(clip: Clip, samples: Wave, speech: Flags, at: int) -> int:
    """Write a clip from frame ``at`` on, as much as fits; the frame behind it."""
    room = samples[at * FRAME :]
    taken = min(len(room), len(clip.samples))
    room[:taken] = clip.samples[:taken]
    frames = speech[at : at + len(clip.speech)]
    frames[:] = clip.speech[: len(frames)]
    return at + len(clip.speech)


def _noisy(samples: Wave, rng: np.random.Generator) -> Wave:
    """The stream with noise, at a random volume, in steps of 16 bits."""
    colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
    noise = _SPEECH_RMS * 10 ** (-rng.uniform(*SNR_DB) / 20) * coloured(len(samples), colour, rng)
    mixed = (samples + noise) * rng.uniform(0.3, 1.0)
    return np.clip(np.round(mixed * 32768), -32768, 32767) / 32768


def coloured(count: int, colour: float, rng: np.random.Generator) -> Wave:
    """Gaussian noise of mean square 1 whose amplitude goes by frequency to the minus ``colour``."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.arange(len(spectrum)) / count * RATE
    spectrum *= np.maximum(frequency, 50.0) ** -colour
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(noise / np.sqrt(np.square(noise).mean()))
