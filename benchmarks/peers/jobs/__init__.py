"""What runs inside the peers' environments: one file a job, each public function a task."""

OPENVINO_TARGET = "x64-openvino"
"""Our target for the OpenVINO provider; without it, int8 is made for the processor."""
