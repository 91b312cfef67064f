"""A device as data."""

from __future__ import annotations

from typing import Any, Literal

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field, field_validator

from onnxopt.runtime import Layout, OptLevel, Precision
from onnxopt.targets.kernel import Cost, FloatKernel, IntegerType, Kernel

INTEGERS = (
    "smooth-activations | quantize-dynamic{op_types=[LSTM]} | "
    "quantize-mixed{refined=true} | refine-rounding"
)
"""What most targets take precision for speed with: int8, as much as a budget allows, repaired."""


class SessionOptions(BaseModel):
    """How models run on the device.

    Attributes:
        threads: Threads inside one operator; None for one a physical core.
        precision: The arithmetic the provider may use for fp32 models.
        layouts: How Conv and its like may lie: the first holds unless another one is tried, and
            measured to be faster, for a model that gave up precision.
        optimization: ONNX Runtime's graph optimisation level.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(default=None, ge=1)
    precision: Precision = "fp32"
    layouts: tuple[Layout, ...] = Field(default=("nchw",), min_length=1)
    optimization: OptLevel = "all"


class ChannelsLast(BaseModel):
    """Which integer kernels leave their codes channels last.

    Attributes:
        made: Ops that do, whatever they read.
        kept: Ops that do where all that they read lies so.
        float_blocks: Ops that, in float, keep the blocks of channels in which a float Conv leaves
            what it makes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    made: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    float_blocks: tuple[str, ...] = ()

    @property
    def ops(self) -> frozenset[str]:
        """Both kinds in integers."""
        return frozenset((*self.made, *self.kept))


class Int8Scheme(BaseModel):
    """Which integers the device's kernels multiply, and what the way to and from them costs.

    Attributes:
        activation: Integer type of activations.
        symmetric: Whether activations have zero point 0.
        unsigned_if_positive: Whether an activation that is never negative has uint8 codes, with
            zero point 0, whatever ``activation`` says.
        weight: Integer type of weights; always symmetric.
        weight_bits: Bits of the weights really used: 7 where 8 would saturate the kernel.
        per_channel: Whether weights have one scale an output channel.
        bias: Whether biases are int32 codes or stay float.
        cache: Elements of the greatest float tensor that stays near the core between two kernels;
            None where nobody looked.
        channels_last: Where codes lie channels last.
        shifted_conv: What a dense Conv gains where the codes of its weight have a zero point other
            than 0, which a kernel for symmetric weights does not take and a matrix product does.
        fixed_sizes: Whether codes are sure to come out right only where all sizes of the model's
            inputs are numbers.
        quantize: Cost of a QuantizeLinear.
        dequantize: Cost of a DequantizeLinear.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation: IntegerType
    symmetric: bool = False
    unsigned_if_positive: bool = False
    weight: Literal["int8"] = "int8"
    weight_bits: Literal[7, 8] = 8
    per_channel: bool = True
    bias: Literal["int32", "float"] = "int32"
    cache: int | None = Field(default=None, ge=1)
    channels_last: ChannelsLast = ChannelsLast()
    shifted_conv: Cost = Cost()
    fixed_sizes: bool = False
    quantize: Cost = Cost()
    dequantize: Cost = Cost()


class Target(BaseModel):
    """A device: provider, limits, session options, integer scheme and kernels.

    Attributes:
        name: The word users write.
        summary: One line for people.
        provider: ONNX Runtime's provider by its short name.
        max_opset: Highest opset of the default domain its runtime loads.
        max_ir: Highest IR version its runtime loads.
        exact_recipe: The recipe of exact passes that suits the device.
        float_recipe: Exact steps after it for models that stay in float: spellings that float
            kernels like and integer ones do not.
        lossy_recipe: What takes precision for speed where nothing else is asked for.
        session: How models run.
        fallback: The target to use where this machine's provider lacks the session's precision;
            empty for none.
        dynamic_ops: Ops that its runtime computes in integers with activations quantized as they
            come.
        int8: The integer scheme; None where the device has no use for one.
        kernels: Rows of integer kernels; the first whose needs hold counts. In a file, a row's
            ``op`` may also be a list.
        float_kernels: Rows of what ops cost in floating point, ``float`` in a file; the first that
            fits counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    provider: str = Field(min_length=1)
    max_opset: int = Field(default=26, ge=1)
    max_ir: int = Field(default=13, ge=3)
    exact_recipe: str = "exact"
    float_recipe: str = ""
    lossy_recipe: str = INTEGERS
    session: SessionOptions = SessionOptions()
    fallback: str = ""
    dynamic_ops: tuple[str, ...] = ("Gather", "Gemm", "LSTM", "MatMul")
    int8: Int8Scheme | None = None
    kernels: tuple[Kernel, ...] = Field(default=(), alias="kernel")
    float_kernels: tuple[FloatKernel, ...] = Field(default=(), alias="float")

    @field_validator("kernels", "float_kernels", mode="before")
    @classmethod
    def _one_op_a_row(cls, rows: Any) -> Any:
        """A row may list several ops that have all else in common."""
        if not isinstance(rows, list | tuple):
            return rows
        return tuple(single for row in rows for single in _singles(row))

    def rows(self, op_type: str) -> tuple[Kernel, ...]:
        """The rows of one op for this target's integer types, most specific first."""
        return tuple(row for row in self.kernels if row.op == op_type and self._fits(row))

    def kernel_for(self, node: ir.Node) -> Kernel | str | None:
        """The kernel for a node, or the reason why none fits; None where the op has no row."""
        reasons: list[str] = []
        for row in self.rows(node.op_type) if node.domain == "" else ():
            verdict = row.accepts(node)
            if verdict is True:
                return row
            reasons.append(verdict)
        return ", ".join(dict.fromkeys(reasons)) or None

    def float_kernel_for(self, node: ir.Node) -> FloatKernel | None:
        """The row of what a node costs in floating point."""
        return next((row for row in self.float_kernels if row.fits(node)), None)

    def _fits(self, row: Kernel) -> bool:
        scheme = self.int8
        if scheme is None or scheme.activation not in row.activation:
            return False
        return not row.weight or scheme.weight in row.weight


def _singles(row: Any) -> list[Any]:
    ops = row.get("op") if isinstance(row, dict) else None
    return [{**row, "op": op} for op in ops] if isinstance(ops, list) else [row]
