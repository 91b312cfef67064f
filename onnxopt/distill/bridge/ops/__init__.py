"""What each ONNX op is in torch, a family a file."""
