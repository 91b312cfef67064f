"""Export: a model of any framework in, one verified ONNX model out.

Each framework has an adapter (``Source``) that opens the model, runs it and converts it; the rest
is common: what is fed, how the result is called, which opset it has, and that both compute the
same.
"""

from onnxopt.exporting.exporter import Export, export_model
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.recognizing import is_plain_model

__all__ = ["Export", "ExportOptions", "export_model", "is_plain_model"]
