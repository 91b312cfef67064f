"""Bundles: a folder that carries a model to a device, with what is needed to check it there."""

from onnxopt.deploy.bundle import (
    BundleContent,
    GoldenSample,
    check_destination,
    write_bundle,
)
from onnxopt.deploy.manifest import DataEntry, Manifest, StepDelta, read_manifest
from onnxopt.deploy.verify import VerifyReport, verify_bundle

__all__ = [
    "BundleContent",
    "DataEntry",
    "GoldenSample",
    "Manifest",
    "StepDelta",
    "VerifyReport",
    "check_destination",
    "read_manifest",
    "verify_bundle",
    "write_bundle",
]
