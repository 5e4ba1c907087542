"""Which names a test file writes down, whether or not this machine makes tests of them."""

import ast
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# What gives a module names that stand nowhere in it.
_MAKERS = frozenset({"exec", "globals", "locals", "setattr"})
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# What a value is made of that is the same wherever it is read.
_WRITTEN_OUT = (
    *(ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.expr_context),
    *(ast.UnaryOp, ast.BinOp, ast.unaryop, ast.operator),
)


@dataclass(frozen=True)
class Source:
    """What a file says of names, in branches that are not taken, too.

    Attributes:
        names: All that it writes down.
        derived: Classes that may have their tests from others.
        closed: Whether all of its tests' names are among those.
        settled: Functions, each with its classes, whose contracts are written out in their marks,
            and so are the same on every machine.
    """

    names: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()
    closed: bool = True
    settled: frozenset[tuple[str, ...]] = frozenset()

    @classmethod
    def of(cls, file: Path) -> "Source":
        """What a file says: nothing where it is no more, anything where it can't be read."""
        try:
            # It was compiled before: what there was to warn of was said then.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = ast.parse(file.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, SyntaxError, ValueError):
            return cls(closed=False)
        nodes = [*ast.walk(module)]
        return cls(
            names=frozenset(_words(nodes)),
            derived=frozenset(n.name for n in nodes if isinstance(n, ast.ClassDef) and n.bases),
            closed=not any(map(_gives_unwritten_names, nodes)),
            settled=frozenset(_settled(module.body)),
        )

    def may_hold(self, classes_and_function: Iterable[str]) -> bool:
        """Whether there may be such a test: on another machine, or with other options."""
        wanted = frozenset(classes_and_function)
        return not self.closed or bool(self.derived & wanted) or wanted <= self.names


def _words(nodes: Iterable[ast.AST]) -> Iterable[str]:
    """Identifiers and whole strings: a name may be given by either."""
    fields = (value for node in nodes for _, value in ast.iter_fields(node))
    return (value for value in fields if isinstance(value, str))


def _gives_unwritten_names(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        ours = (node.module or "").partition(".")[0] == "pytest_aerobust"
        return not ours and any(each.name == "*" for each in node.names)
    return isinstance(node, ast.Name) and node.id in _MAKERS


def _settled(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ...]]:
    """Functions of a module or class, and of classes in it, whose contracts are written out."""
    defined = Counter(name for node in body for name in _bound(node))
    if "pytestmark" in defined:
        return
    for node in body:
        if isinstance(node, _FUNCTIONS | ast.ClassDef) and defined[node.name] == 1:
            if not all(map(_is_written_out, node.decorator_list)):
                continue
            if isinstance(node, _FUNCTIONS):
                yield (node.name,)
            elif not node.bases:
                yield from ((node.name, *inner) for inner in _settled(node.body))


def _bound(statement: ast.stmt) -> Iterable[str]:
    """Names that a statement gives a meaning, whichever of its branches is taken."""
    if isinstance(statement, _FUNCTIONS | ast.ClassDef):
        return (statement.name,)
    return _words(ast.walk(statement))


def _is_written_out(decorator: ast.expr) -> bool:
    """Whether a decorator is a contract of plain values, or a mark that makes no tests."""
    call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
    name = ast.unparse(call.func)
    if name in ("robust", "pytest_aerobust.robust", "pytest.mark.robust"):
        given = [*call.args, *(each.value for each in call.keywords)]
        return all(isinstance(part, _WRITTEN_OUT) for each in given for part in ast.walk(each))
    return name.startswith("pytest.mark.") and name != "pytest.mark.parametrize"
