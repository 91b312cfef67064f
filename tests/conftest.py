"""Shared options and fixtures."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "all models in tests/conformance, twenty times as many in tests/property"
    parser.addoption("--full", action="store_true", help=text)
