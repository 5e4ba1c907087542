"""Which names a test file writes down, whether or not this machine makes tests of them."""

import ast
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# What gives a module names that stand nowhere in it.
_MAKERS = frozenset({"exec", "globals", "locals", "setattr"})


@dataclass(frozen=True)
class Source:
    """What a file says of names, in branches that are not taken, too.

    Attributes:
        names: All that it writes down.
        derived: Classes that may have their tests from others.
        closed: Whether all of its tests' names are among those.
    """

    names: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()
    closed: bool = True

    @classmethod
    def of(cls, file: Path) -> "Source":
        """What a file says: nothing where it is no more, anything where it can't be read."""
        try:
            # It was compiled before: what there was to warn of was said then.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nodes = [*ast.walk(ast.parse(file.read_bytes()))]
        except FileNotFoundError:
            return cls()
        except (OSError, SyntaxError, ValueError):
            return cls(closed=False)
        return cls(
            names=frozenset(_words(nodes)),
            derived=frozenset(n.name for n in nodes if isinstance(n, ast.ClassDef) and n.bases),
            closed=not any(map(_gives_unwritten_names, nodes)),
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
