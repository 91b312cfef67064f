"""Runs the model of this bundle. Needs nothing but numpy and onnxruntime (and its plug-ins).

python run.py                                 check the golden samples on this machine
python run.py --input in.npz --output out.npz run one feed (arrays under the inputs' names)
python run.py --benchmark                     time the first golden sample
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

HERE = Path(__file__).resolve().parent
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def main() -> int:
    """Parse the command line and do one of the three things; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--input", type=Path, help="an .npz with one array per input")
    parser.add_argument("--output", type=Path, help="where to write the outputs, as .npz")
    parser.add_argument("--threads", type=positive, help="threads (default: as measured)")
    parser.add_argument("--benchmark", action="store_true", help="time the first golden sample")
    arguments = parser.parse_args()
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    session = open_session(manifest, arguments.threads or manifest["threads"])
    if arguments.input:
        return run_once(session, arguments.input, arguments.output)
    if arguments.benchmark:
        return benchmark(session)
    return check(session, manifest)


def positive(text: str) -> int:
    """A number from 1, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return int(text)


def open_session(manifest: dict[str, Any], threads: int) -> Any:
    """Load the model on the provider it was measured on."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    wanted = manifest["provider"]
    if wanted == "openvino" and add_openvino(options, manifest.get("precision", "fp32"), threads):
        return ort.InferenceSession(str(HERE / manifest["model"]), options)
    if wanted not in PROVIDERS:
        print(f"note: measured on {wanted}; this script runs it on the CPU", file=sys.stderr)
    provider = PROVIDERS.get(wanted, PROVIDERS["cpu"])
    told = cuda_options(manifest) if wanted == "cuda" else {}
    session = ort.InferenceSession(
        str(HERE / manifest["model"]), options, providers=[(provider, told)]
    )
    if session.get_providers()[0] != provider:
        sys.exit(f"{provider} is not available here; found {session.get_providers()[0]}")
    return session


def cuda_options(manifest: dict[str, Any]) -> dict[str, str]:
    """Load the libraries that come as Python packages; what the provider was measured with."""
    ort.preload_dlls()
    is_tf32 = manifest.get("precision") == "tf32"
    is_last = manifest.get("layout") == "nhwc"
    return {"use_tf32": str(int(is_tf32)), "prefer_nhwc": str(int(is_last))}


def add_openvino(options: Any, precision: str, threads: int) -> bool:
    """Let OpenVINO's plug-in run the model, in the precision it was measured in; False without."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        print("note: pip install onnxruntime-ep-openvino", file=sys.stderr)
        return False
    ort.register_execution_provider_library("openvino", plugin.get_library_path())
    devices = [d for d in ort.get_ep_devices() if d.ep_name == plugin.get_ep_name()]
    hint = {"fp32": "f32", "fp16": "f16"}.get(precision, precision)
    told = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": str(threads)}
    of_cpu = [d for d in devices if str(d.device.type).endswith("CPU")]
    options.add_provider_for_devices(of_cpu[:1], {"load_config": json.dumps({"CPU": told})})
    return True


def run_once(session: Any, source: Path, destination: Path | None) -> int:
    """Run one feed from a file."""
    outputs = run(session, read(source))
    for name, value in outputs.items():
        print(f"{name}: {value.dtype}{list(value.shape)}")
    if destination:
        np.savez(destination, **outputs)
    return 0


def check(session: Any, manifest: dict[str, Any]) -> int:
    """Compare every golden sample; exit code 4 where one is off."""
    failures = 0
    for index in range(manifest["samples"]):
        outputs = run(session, read(HERE / "golden" / f"{index:03d}.inputs.npz"))
        expected = read(HERE / "golden" / f"{index:03d}.outputs.npz")
        for name, value in expected.items():
            if not agrees(value, outputs[name], manifest["agreement"]):
                failures += 1
                print(f"sample {index}: output {name} differs")
    print(f"{manifest['samples']} samples, {failures} outputs differ")
    return 4 if failures else 0


def benchmark(session: Any) -> int:
    """Median latency over a second or so."""
    feeds = read(HERE / "golden" / "000.inputs.npz")
    for _ in range(5):
        run(session, feeds)
    times: list[float] = []
    while sum(times) < 1.0 or len(times) < 10:
        start = time.perf_counter()
        run(session, feeds)
        times.append(time.perf_counter() - start)
    print(f"p50 {np.median(times) * 1e3:.3f} ms, {len(times)} runs")
    return 0


def run(session: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """Run the model: arrays by input name in, arrays by output name out."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def read(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError) as error:
        sys.exit(f"{path} cannot be read: {error}")


def agrees(expected: Any, found: Any, rule: dict[str, Any]) -> bool:
    """Whether an output is as close to the golden one as the manifest's rule asks."""
    if expected.dtype.kind == "U":
        return bool(np.array_equal(expected, np.asarray(found).astype(np.str_)))
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(expected, found))
    a, b = expected.astype(np.complex128), found.astype(np.complex128)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    a, b = a[finite], b[finite]
    error = np.abs(a - b)
    if rule["kind"] == "elementwise":
        usual = float(np.sqrt(np.mean(np.square(np.abs(a))))) if a.size else 0.0
        allowed = rule["atol"] * max(1.0, usual) + rule["rtol"] * np.abs(a)
        return bool((error <= allowed).all())
    limit = float(rule["limit"]) * max(float(np.linalg.norm(a)), 1e-12)
    return float(np.linalg.norm(error)) <= limit


if __name__ == "__main__":
    sys.exit(main())
