"""`--only EXPR`: the runs that are asked for, by their fields.

An expression has the fields of runs (columns of the table `runs`), numbers, quoted texts, comparisons, `in`,
`and`, `or`, `not` and parentheses, in Python's grammar; it is read and never run:

    side <= 5 and method == 'imp_wr'
    3 < field < 3.2 or kind == 'dense'
    run_id in ('t0123…', 'k4567…')

A field that a run does not have (the method of a dense run, say) makes every comparison false, `!=` and
`not in` included.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from nqs.config import ReferenceJob
from orchestrator.tables import RUN_FIELDS

Fields = Mapping[str, str | int | float | None]
_Condition = Callable[[Fields], bool]

_NUMBER, _TEXT = "a number", "a text"
_TYPES = {column.name: _TEXT if pa.types.is_string(column.type) else _NUMBER for column in RUN_FIELDS}
_COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}
_GRAMMAR = "fields of runs, numbers, quoted texts, comparisons, in (…), and, or, not, parentheses"


class SelectionError(ValueError):
    """What is wrong with an expression, in one sentence."""


class _Operand(NamedTuple):
    type: str
    value: Callable[[Fields], object]


@dataclass(frozen=True)
class Selection:
    """Which runs an expression is true for.

    Attributes:
        text: the expression as it was given.
    """

    text: str
    _holds: _Condition

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Read an expression.

        Raises:
            SelectionError: it has a syntax error, an unknown name or something that is not allowed, or
                compares a number with a text.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval")
            return cls(text.strip(), _condition(tree.body))
        except SyntaxError as error:
            example = "such as \"side == 4 and method == 'imp_wr'\""
            raise SelectionError(f"{text!r} is not an expression, {example}: {error.msg}") from None
        except (ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, SelectionError):
                raise
            raise SelectionError("it is nested too deeply, or has a character that no text has") from None

    def chosen(self, runs: Iterable[Fields]) -> set[str]:
        """Ids of the runs that the expression is true for, and of their parents."""
        runs = list(runs)
        parents = {run["run_id"]: run["parent_run_id"] for run in runs}
        chosen: set[str] = set()
        for run_id in (run["run_id"] for run in runs if self._holds(run)):
            while run_id is not None and run_id not in chosen:
                chosen.add(run_id)
                run_id = parents.get(run_id)
        return chosen


def reference_fields(job: ReferenceJob) -> Fields:
    """The fields that a reference energy has in common with runs; it has no method in the runs' sense."""
    own = {"run_id": job.run_id, "kind": job.kind, "sites": job.hamiltonian.sites}
    return dict.fromkeys(_TYPES) | job.hamiltonian.columns | own


def _condition(node: ast.expr) -> _Condition:
    match node:
        case ast.BoolOp(op, values):
            every = all if isinstance(op, ast.And) else any
            conditions = [_condition(value) for value in values]
            return lambda run: every(holds(run) for holds in conditions)
        case ast.UnaryOp(ast.Not(), operand):
            holds = _condition(operand)
            return lambda run: not holds(run)
        case ast.Compare(left, comparisons, others):
            links = zip([left, *others], comparisons, others, strict=False)
            holding = [_comparison(node, *link) for link in links]
            return lambda run: all(holds(run) for holds in holding)
    raise SelectionError(f"{ast.unparse(node)!r} is not a condition; allowed: {_GRAMMAR}")


def _comparison(whole: ast.expr, left: ast.expr, comparison: ast.cmpop, right: ast.expr) -> _Condition:
    compare = _COMPARISONS.get(type(comparison))
    if compare is None:
        raise SelectionError(f"{ast.unparse(whole)!r} has 'is'; write == or != instead")
    among = isinstance(comparison, (ast.In, ast.NotIn))
    one, other = _operand(left), _listed(right) if among else _operand(right)
    if one.type != other.type:
        raise SelectionError(f"{ast.unparse(whole)!r} compares {one.type} with {other.type}")

    def holds(run: Fields) -> bool:
        a, b = one.value(run), other.value(run)
        return a is not None and b is not None and compare(a, b)

    return holds


def _operand(node: ast.expr) -> _Operand:
    match node:
        case ast.Name(name) if name in _TYPES:
            return _Operand(_TYPES[name], operator.itemgetter(name))
        case ast.Name(name):
            raise SelectionError(
                f"{name!r} is not a field of runs; allowed: {', '.join(_TYPES)} (texts are quoted: {name!r})"
            )
        case ast.Constant(str() as value):
            return _Operand(_TEXT, lambda run: value)
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return _Operand(_NUMBER, lambda run: value)
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)) if not isinstance(value, bool):
            return _Operand(_NUMBER, lambda run: -value)
    raise SelectionError(f"{ast.unparse(node)!r} cannot be compared; allowed: {_GRAMMAR}")


def _listed(node: ast.expr) -> _Operand:
    """The values after `in`."""
    elements = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else []
    operands = [_operand(element) for element in elements]
    if not operands or any(isinstance(element, ast.Name) for element in elements):
        raise SelectionError(
            f"{ast.unparse(node)!r} after in; allowed: a list of numbers or of quoted texts, such as (4, 5) or ('imp_wr',)"
        )
    if len(types := {operand.type for operand in operands}) > 1:
        raise SelectionError(f"{ast.unparse(node)!r} has numbers and texts")
    values = {operand.value({}) for operand in operands}
    return _Operand(types.pop(), lambda run: values)
