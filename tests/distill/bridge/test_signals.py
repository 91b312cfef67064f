"""Fourier transforms and com.microsoft's rotary positions compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import bridging
import judging

from onnxopt import store
from onnxopt.distill import to_torch
from onnxopt.distill.bridge import unsupported

RNG = np.random.default_rng(0)


def check(text: str, opset: int = 17, **feeds: np.ndarray) -> None:
    model = store.from_text(
        f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1]> g {text}'
    )
    wanted = judging.compute(store.serialize(model), feeds)
    found = bridging.run(to_torch(model), feeds)["y"].numpy()
    assert found.shape == wanted["y"].shape
    np.testing.assert_allclose(found, wanted["y"], rtol=1e-4, atol=1e-4)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("given", ["", "w", "w, n"])
def test_short_time_transforms(onesided: int, given: str) -> None:
    given = given or ", n"
    check(
        "(float[2,64,1] x, float[16] w) => (float[b,f,k,c] y) { s = Constant<value_int=8>()"
        f" n = Constant<value_int=16>() y = STFT<onesided={onesided}>(x, s, {given}) }}",
        x=normal(2, 64, 1),
        w=normal(16),
    )


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("options", ["", "onesided=1", "inverse=1"])
@pytest.mark.parametrize("opset", [17, 20])
def test_transforms_along_an_axis(width: int, options: str, opset: int) -> None:
    if width == 2 and "onesided" in options:
        options = ""
    inputs = "x, n, a" if opset >= 20 else "x, n"
    options = f"axis=1{', ' * bool(options)}{options}" if opset < 20 else options
    check(
        f"(float[2,12,5,{width}] x) => (float[b,f,k,c] y) {{ n = Constant<value_int=10>()"
        f" a = Constant<value_int=1>() y = DFT{f'<{options}>' if options else ''}({inputs}) }}",
        opset,
        x=normal(2, 12, 5, width),
    )


@pytest.mark.parametrize("options", ["", "num_heads=2", "num_heads=2, rotary_embedding_dim=4"])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [np.array([2]), np.array([[0, 3, 1], [2, 2, 5]])])
def test_rotary_positions(options: str, interleaved: int, positions: np.ndarray) -> None:
    options = f"interleaved={interleaved}{', ' * bool(options)}{options}"
    half = 2 if "rotary_embedding_dim" in options else 4
    sizes = ",".join(map(str, positions.shape))
    check(
        f"(float[2,3,16] x, int64[{sizes}] p, float[9,{half}] c, float[9,{half}] s)"
        f" => (float[2,3,16] y) {{ y = com.microsoft.RotaryEmbedding<{options}>(x, p, c, s) }}",
        x=normal(2, 3, 16),
        p=positions,
        c=normal(9, half),
        s=normal(9, half),
    )


def test_one_side_is_transformed_back() -> None:
    half = np.fft.rfft(normal(2, 12, 5), axis=1)
    check(
        "(float[2,7,5,2] x) => (float[b,f,k,c] y) { y = DFT<axis=1, inverse=1, onesided=1>(x) }",
        x=np.stack([half.real, half.imag], -1).astype(np.float32),
    )


def test_what_is_not_computed_is_named() -> None:
    model = store.from_text(
        '<ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1]> g'
        " (float[2,3,8] x, int64[1] p, float[9,4] c) => (float[2,3,8] y)"
        " { y = com.microsoft.RotaryEmbedding<is_packed_batching=1>(x, p, c, c) }"
    )
    assert "packed batches" in unsupported(model)[0]
