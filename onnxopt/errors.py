"""The whole error tree: each error is one line and knows its exit code."""

from __future__ import annotations


class OnnxoptError(Exception):
    """Base of every error the library raises on purpose.

    The message is one line made of what was found, what was wanted and what to do about it.

    Args:
        found: What is wrong, naming the file, node, option or sample.
        wanted: What would have been accepted, where that is not obvious from ``found``.
        todo: The next step for the user.
    """

    exit_code = 1

    def __init__(self, found: str, wanted: str = "", todo: str = "") -> None:
        self.found = found
        self.wanted = wanted
        self.todo = todo
        parts = [found]
        if wanted:
            parts.append(f"wanted {wanted}")
        if todo:
            parts.append(todo)
        super().__init__("; ".join(" ".join(part.split()) for part in parts))


class PassFailedError(OnnxoptError):
    """A pass raised; the message names the pass with its options and the cause."""


class UsageError(OnnxoptError):
    """The request itself is wrong: an unknown option, recipe word or combination."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe does not parse; the message points at the word."""


class InvalidInputError(OnnxoptError):
    """A model or data set is invalid, unsafe or unsupported."""

    exit_code = 3


class ModelError(InvalidInputError):
    """A model file or graph cannot be used."""


class DataError(InvalidInputError):
    """A data set cannot be used; the message names the sample."""


class MismatchError(OnnxoptError):
    """Original and result differ by more than the declared exactness allows."""

    exit_code = 4


class BudgetError(OnnxoptError):
    """Nothing meets a stated budget."""

    exit_code = 5


class BackendMissingError(OnnxoptError):
    """A provider, precision, thread count or package was asked for and is not in force."""

    exit_code = 6


class LimitError(OnnxoptError):
    """A limit (size, depth, time, memory) was hit."""

    exit_code = 7
