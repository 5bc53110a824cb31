"""Functions that time the machine they run on: whoever runs work side by side runs these alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def alone(function: Function) -> Function:
    """Declares that nothing else may run on the machine beside this function, whose result are times."""
    function.__dict__["alone"] = True
    return function


def is_alone(function: Callable[..., Any]) -> bool:
    """Whether a function is declared so."""
    return bool(getattr(function, "alone", False))
