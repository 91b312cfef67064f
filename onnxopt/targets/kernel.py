"""One row of a target file: an op that the device computes in integers, and what that gains."""

from __future__ import annotations

from typing import Annotated, Literal

import onnx_ir as ir
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from onnxopt.errors import UsageError
from onnxopt.targets.predicates import Verdict, predicate

IntegerType = Literal["uint8", "int8"]


def _known_word(word: str) -> str:
    try:
        predicate(word)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return word


class Cost(BaseModel):
    """What an op costs, linear in its size, as measured.

    Attributes:
        mac: Nanoseconds for each multiply-accumulate.
        skipped: Nanoseconds for each of those that a dilated Conv spends on padding: float kernels
            leave them out.
        tap: Nanoseconds for each place of a Conv's window at each place of its output, whatever
            the number of channels.
        group: The same, once for each group of the Conv.
        window: Nanoseconds for each number in the windows of a Conv, at all places of its output,
            where they are copied side by side; pointwise ones are read where they lie.
        weight: Nanoseconds for each element of the weight.
        element: Nanoseconds for each element of the output.
        read: Nanoseconds for each element of the activations that are read.
        spill: Nanoseconds for each element of those that no longer fit the cache as floats.
        node: Nanoseconds for each run of the op, whatever its size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mac: float = 0.0
    skipped: float = 0.0
    tap: float = 0.0
    group: float = 0.0
    window: float = 0.0
    weight: float = 0.0
    element: float = 0.0
    read: float = 0.0
    spill: float = 0.0
    node: float = 0.0

    def of(
        self,
        *,
        elements: float,
        macs: float = 0.0,
        skipped: float = 0.0,
        taps: float = 0.0,
        groups: float = 0.0,
        windows: float = 0.0,
        weights: float = 0.0,
        reads: float = 0.0,
        spilled: float = 0.0,
    ) -> float:
        """Nanoseconds for an op of this size."""
        products = self.mac * macs + self.skipped * skipped
        gathered = self.tap * taps + self.group * groups + self.window * windows
        moved = self.element * elements + self.read * reads + self.spill * spilled
        return products + gathered + self.weight * weights + moved + self.node


def blocked(channels: int, block: int) -> int:
    """What a number of channels is rounded up to by a kernel that computes blocks of them.

    Fewer than one block, as of a picture, have kernels of their own.
    """
    return -(-channels // block) * block if channels >= block else channels


class Kernel(BaseModel):
    """An integer kernel: for which nodes it exists, in which form, and what it gains.

    Attributes:
        op: Op type of the default domain.
        becomes: The ops it turns into in the optimised graph, ``domain:Type`` outside ONNX's own;
            by default itself, or nothing where it is only another reading of codes.
        activation: Integer types its activations may have.
        weight: Integer types its weight may have; empty where it has none.
        needs: Words that must hold for the node, see ``predicates``.
        operands: Which inputs are put into codes: the first alone; all of them; or, of a sum, all
            but what a kernel of this target with a weight makes for it alone, whose sum it is.
        shares_scale: Whether its outputs must have the scale and zero point of its input.
        shares_codes: Whether its output has the codes of its input, read with another scale and
            zero point: ``a x + b`` with numbers a and b.
        float_output: The op it turns into where only float nodes read its output, which then needs
            no conversion; empty where there is none.
        output: Whether its output is put into codes or stays float whoever reads it, because the
            runtime itself joins the kernel with the QuantizeLinear of a later reader.
        absorbs: Ops right after it that cost nothing when its output is quantized after them.
        gain: Time of the float kernel less time of the integer one; negative where float is faster.
        channels_first: What it costs more in codes that do not lie channels last, or in float right
            before codes: a runtime that moves the QuantizeLinear across it computes it in them.
        block: The float kernel computes channels in multiples of it: 17 of them take as long as 32
            with 16.
        since: The runtime version with which the row was tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: str = Field(min_length=1)
    becomes: tuple[str, ...] = ()
    activation: tuple[IntegerType, ...] = ("uint8", "int8")
    weight: tuple[IntegerType, ...] = ()
    needs: tuple[Annotated[str, AfterValidator(_known_word)], ...] = ()
    operands: Literal["first", "all", "others"] = "first"
    shares_scale: bool = False
    shares_codes: bool = False
    float_output: str = ""
    output: Literal["codes", "float"] = "codes"
    absorbs: tuple[str, ...] = ()
    gain: Cost = Cost()
    channels_first: Cost = Cost()
    block: int = Field(default=1, ge=1)
    since: str = Field(default="1.31", pattern=r"^\d+\.\d+$")

    @property
    def runs_as(self) -> tuple[str, ...]:
        """The ops it turns into."""
        return () if self.shares_codes else self.becomes or (self.op,)

    @property
    def minds_layout(self) -> bool:
        """Whether it matters to it how its codes lie."""
        return self.channels_first != Cost()

    @property
    def may_leave_float(self) -> bool:
        """Whether its output needs no codes where only float nodes read it."""
        return self.output == "float" or bool(self.float_output)

    def accepts(self, node: ir.Node) -> Verdict:
        """Whether the kernel exists for a node, or the first reason why not."""
        if node.domain != "" or node.op_type != self.op:
            return f"it is no {self.op}"
        verdicts = (predicate(word)(node) for word in self.needs)
        return next((verdict for verdict in verdicts if verdict is not True), True)


class FloatKernel(BaseModel):
    """What an op costs in floating point; to foresee what a smaller one would gain.

    Attributes:
        op: Op type of the default domain; ``*`` for any.
        needs: Words that must hold for the node, see ``predicates``.
        cost: Of a run. Elements are those of the output, or of what is read where that is more and
            the op has no weight.
        after_codes: What it costs more where its operand has not come all the way from float Convs
            and no integer kernel reads what it makes: it then misses the layout of both.
        block: Channels are computed in multiples of it: 17 of them take as long as 32 with 16.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: str = Field(min_length=1)
    needs: tuple[Annotated[str, AfterValidator(_known_word)], ...] = ()
    cost: Cost = Cost()
    after_codes: Cost = Cost()
    block: int = Field(default=1, ge=1)

    def fits(self, node: ir.Node) -> bool:
        """Whether the row is about a node."""
        if self.op not in ("*", node.op_type):
            return False
        return all(predicate(word)(node) is True for word in self.needs)
