"""How each provider is told the threads and the precision, and what it cannot be told.

An option that a provider ignores without a word is the trap here: the OpenVINO provider takes
``num_of_threads`` and ``precision`` and runs as it likes; only ``load_config`` is in force.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxopt.errors import BackendMissingError
from onnxopt.runtime.config import SessionConfig

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class Settings:
    """What to hand to a provider.

    Attributes:
        options: Provider options.
        notes: What is asked for but cannot be held or checked, one sentence each.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Devices = Sequence["ort.OrtEpDevice"]
_TF32_UNITS = "TF32 is used where the GPU has it: compute capability 8.0 and up"
_OPENVINO_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def settings_for(name: str, config: SessionConfig, devices: Devices) -> Settings:
    """The provider options that put the asked threads and precision in force.

    Args:
        name: Short name of the provider.
        config: What is asked.
        devices: The plugin's devices that will be used; none for built-in providers.

    Raises:
        BackendMissingError: the provider or this machine cannot hold what is asked.
    """
    if config.layout != "nchw" and name != "cuda":
        raise BackendMissingError(
            f"provider {name} has no setting for layout {config.layout}", "nchw, or provider cuda"
        )
    return _RULES.get(name, _unknown)(name, config, devices)


def _fixed_precision(name: str, config: SessionConfig) -> None:
    if config.precision != "fp32":
        raise BackendMissingError(
            f"provider {name} has no setting for precision {config.precision}",
            "fp32, or a provider that has one (cuda: tf32; openvino, tensorrt: 16 bits)",
            "convert the model itself to 16 bits instead",
        )


def _cpu(name: str, config: SessionConfig, devices: Devices) -> Settings:
    _fixed_precision(name, config)
    return Settings()


def _cuda(name: str, config: SessionConfig, devices: Devices) -> Settings:
    is_tf32 = config.precision == "tf32"  # the provider's default: 10 bits of mantissa in products
    if not is_tf32:
        _fixed_precision(name, config)
    options = {"use_tf32": "1" if is_tf32 else "0"}
    if config.layout == "nhwc":
        options["prefer_nhwc"] = "1"
    if config.cuda_graph:
        options["enable_cuda_graph"] = "1"
    return Settings(options, (_TF32_UNITS,) if is_tf32 else ())


def _tensorrt(name: str, config: SessionConfig, devices: Devices) -> Settings:
    if config.precision in ("fp32", "tf32"):
        return Settings(notes=("TensorRT may use TF32, whether fp32 or tf32 is asked",))
    note = f"TensorRT chooses per layer whether {config.precision} is used"
    return Settings({f"trt_{config.precision}_enable": "1"}, (note,))


def _openvino(name: str, config: SessionConfig, devices: Devices) -> Settings:
    cores = usable_cores()
    if config.threads > cores:
        raise BackendMissingError(
            f"threads={config.threads} on {cores} cores", f"at most {cores} for provider {name}"
        )
    able = str(devices[0].ep_metadata.get("OPTIMIZATION_CAPABILITIES", "")).split()
    if config.precision != "fp32" and config.precision.upper() not in able:
        raise BackendMissingError(
            f"provider {name} has no fast {config.precision} on this machine",
            f"one of what it states ({', '.join(able)})",
            "use --precision fp32 or a machine with such units",
        )
    hint = _OPENVINO_HINTS[config.precision]
    inner = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": str(config.threads),
        "NUM_STREAMS": "1",
    }
    return Settings({"load_config": json.dumps({"CPU": inner}, separators=(",", ":"))})


def _unknown(name: str, config: SessionConfig, devices: Devices) -> Settings:
    _fixed_precision(name, config)
    return Settings(notes=(f"threads and precision of provider {name} are not under control",))


_RULES: Mapping[str, Callable[[str, SessionConfig, Devices], Settings]] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "openvino": _openvino,
}


def usable_cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
