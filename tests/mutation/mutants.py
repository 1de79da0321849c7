"""Finds the places of a module that can be changed, with cosmic-ray's operators and one of ours.

Left out is what no test can notice, by construction: annotations, type aliases, ``TYPE_CHECKING`` and ``__main__``
blocks, ``__all__``, docstrings, decorators that only change the speed or what a type checker sees, and ``==`` for
``is`` or the other way round (the same for the values that this package compares so). A change that leaves the syntax
tree as it was, or no Python, is not drawn either.
"""

from __future__ import annotations

import ast
import difflib
import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator, operator_names

__all__ = ["Change", "Place", "RemoveStatement", "diff", "mutated", "places"]

Position = tuple[int, int]

_SAME_FOR_TESTS = {"compiled", "njit", "jit", "cache", "lru_cache", "overload", "abstractmethod", "override", "final"}
_GENERIC = {"NDArray", "Callable", "Literal", "Mapping", "Sequence", "dict", "list", "set", "tuple", "type"}
_IDENTITY = {"Is", "IsNot"}
_EQUALITY = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
# Where the many operators of a family can apply at all; the others look at every node.
_NODES = {
    "ReplaceBinaryOperator": {"operator"},
    "ReplaceComparisonOperator": {"comparison"},
    "ReplaceUnaryOperator": {"factor", "not_test"},
}


class RemoveStatement(Operator):  # type: ignore[misc]  # cosmic-ray has no annotations
    """Replaces a call, an assignment to an attribute or an item, ``+=``, ``del`` or ``raise`` by ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """Yield where a statement stands that can be left out."""
        if self._can_go(node):
            yield node.start_pos, node.end_pos

    @staticmethod
    def _can_go(node: Any) -> bool:
        if getattr(node.parent, "type", None) not in ("simple_stmt", "suite", "file_input"):
            return False
        if node.type == "raise_stmt" or node.type == "del_stmt":
            return True
        if node.type in ("power", "atom_expr"):
            last = node.children[-1]
            return last.type == "trailer" and last.children[0].value == "("
        if node.type == "expr_stmt":
            target, operator = node.children[:2]
            return operator.type == "operator" and (
                operator.value != "=" or (target.type in ("power", "atom_expr") and len(node.children) == 3)
            )
        return False

    def mutate(self, node: Any, index: int) -> Any:
        """Return the statement that does nothing."""
        statement = parso.parse("pass").children[0]
        statement.prefix = node.get_first_leaf().prefix
        return statement

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return changes that this operator makes."""
        return (Example("f(x)\n", "pass\n"), Example("a.b = 1\n", "pass\n"), Example("n += 1\n", "pass\n"))


class Change(NamedTuple):
    """One change: an operator's name and which of its occurrences in the module."""

    operator: str
    occurrence: int


class Place(NamedTuple):
    """A span of a module with all changes of one kind that can be made there."""

    start: Position
    end: Position
    kind: str
    changes: tuple[Change, ...]


@functools.cache
def _operators() -> dict[str, Operator]:
    found: dict[str, Operator] = {"RemoveStatement": RemoveStatement()}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if not operator.arguments():
            found[name.partition("/")[2]] = operator()
    return found


@functools.cache
def places(source: str) -> list[Place]:
    """Return the places of a module, in the order of the text, without those where no test can notice a change."""
    nodes = list(ast_nodes(get_ast(source)))
    hidden = list(_hidden(source))
    found: dict[tuple[Position, Position, str], list[Change]] = {}
    of_family = {family: [node for node in nodes if node.type in types] for family, types in _NODES.items()}
    for name, operator in _operators().items():
        kind = name.partition("_")[0]
        candidates = of_family.get(kind, nodes)
        spans = ((node, span) for node in candidates for span in operator.mutation_positions(node))
        for occurrence, (node, (start, end)) in enumerate(spans):
            if _pointless(name, node) or any(first <= start < last for first, last in hidden):
                continue
            found.setdefault((start, end, kind), []).append(Change(name, occurrence))
    return [Place(*where, tuple(changes)) for where, changes in sorted(found.items())]


def _pointless(operator: str, node: Any) -> bool:
    """Say whether the operator makes no difference at this node."""
    if operator == "RemoveDecorator":
        return bool(_SAME_FOR_TESTS & set(re.findall(r"\w+", node.get_code().partition("(")[0])))
    if operator.startswith("ReplaceComparisonOperator_"):
        _, before, after = operator.split("_")
        return {before, after} & _IDENTITY != set() and {before, after} & _EQUALITY != set()
    if operator.startswith("ReplaceBinaryOperator_"):
        return node.parent.type in ("parameters", "param", "arglist", "subscriptlist")  # def f(a, *, b)
    return False


def _hidden(source: str) -> Iterator[tuple[Position, Position]]:
    """Yield the spans in which no change counts."""
    lines = source.splitlines()

    def position(line: int, offset: int) -> Position:
        return line, len(lines[line - 1].encode()[:offset].decode())  # ast counts bytes, parso characters

    tree = ast.parse(source)
    for node in [*_types(tree), *_names_of_types(tree), *_without_meaning(tree)]:
        if node.end_lineno is not None and node.end_col_offset is not None:
            yield position(node.lineno, node.col_offset), position(node.end_lineno, node.end_col_offset)


def _types(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.Call) and _called(node) == "cast":
            yield node.args[0]


def _names_of_types(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield ``__all__`` and assignments that name a type, such as ``F64 = NDArray[np.float64]``."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "__all__" in names or _is_type(node.value):
                yield node
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == "__all__":
            yield node


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return all(
            _is_type(side) or isinstance(side, ast.Name) or (isinstance(side, ast.Constant) and side.value is None)
            for side in (node.left, node.right)
        )
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return node.value.id in _GENERIC
    return isinstance(node, ast.Call) and _called(node) in ("TypeVar", "ParamSpec", "NewType")


def _without_meaning(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield blocks that do not run in tests, and arguments that only change speed, memory or what a warning names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            names = {name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)}
            if names & {"TYPE_CHECKING", "__name__"}:
                yield node
        elif isinstance(node, ast.keyword) and node.arg in ("slots", "nogil", "cache", "stacklevel"):
            yield node.value


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def mutated(source: str, change: Change) -> str | None:
    """Return the module with a change, or None where the result is no Python or means the same."""
    try:
        text = mutate_code(source, _operators()[change.operator], change.occurrence)
    except AttributeError:  # cosmic-ray 8.7 does not know `except queue.Empty`
        return None
    if text is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(text, "mutant", "exec", dont_inherit=True)
            same = ast.dump(ast.parse(text)) == ast.dump(ast.parse(source))
    except SyntaxError:
        return None
    return None if same else text


def diff(before: str, after: str) -> str:
    """Return the lines that differ, with - and + in front."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
