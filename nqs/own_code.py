"""What a user brings, found by its name "module:function"."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module


def function_named(name: str, role: str) -> Callable:
    """The function that a user's module has.

    Args:
        name: "module:function".
        role: what the sentence calls it, such as "factory".

    Raises:
        ValueError: there is no such module or function, or importing the module raises.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except Exception as error:
        # Whatever the module raises, in one line: it is shown as a sentence.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{role} {name!r} cannot be imported: {reason}") from error
