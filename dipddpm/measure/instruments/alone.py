"""Marks functions that time the machine they run on, so that a sweep runs nothing beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def alone(function: Function) -> Function:
    """Decorator: nothing else may run on the machine beside this function, because it measures time."""
    function.__dict__["alone"] = True
    return function


def is_alone(function: Callable[..., Any]) -> bool:
    """Whether a function is declared so."""
    return bool(getattr(function, "alone", False))
