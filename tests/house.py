"""The house counted: rooms, floors and imports between them; ``python tests/house.py [FOLDER]``.

A room is a file or a folder right below the package; a floor is how many rooms stand on top of
each other below it. Imports inside functions count, those for types alone, too.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "pytest_aerobust"


def modules(package, root=ROOT):
    return sorted((root / package).rglob("*.py"))


def imports(path, everything=True):
    """Names of imported modules; without those inside functions and TYPE_CHECKING blocks."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everything else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def room(name):
    """The room of a module; None of the face that users see, and outside of the package."""
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def name_of(path, root=ROOT):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def between_rooms(root=ROOT) -> Iterator[tuple[str, str]]:
    """Each import of a module from another room than its own, as two rooms."""
    for path in modules(PACKAGE, root):
        own = room(name_of(path, root))
        for name in imports(path) if own else ():
            other = room(name)
            if other not in (None, own):
                yield own, other


def circles(edges: Iterable[tuple[str, str]]) -> set[str]:
    """Who reaches itself."""
    edges = set(edges)
    while True:
        farther = edges | {(a, d) for a, b in edges for c, d in edges if b == c}
        if farther == edges:
            return {a for a, b in edges if a == b}
        edges = farther


def floors(edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The floor of each room, from 1; without circles."""
    edges = set(edges)
    below = {a: {b for c, b in edges if c == a} for edge in edges for a in edge}

    def floor(name):
        return 1 + max(map(floor, below[name]), default=0)

    return {name: floor(name) for name in below}


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    edges = [*between_rooms(root)]
    rooms = {room(name_of(path, root)) for path in modules(PACKAGE, root)} - {None}
    print(f"{len(rooms)} rooms, {len(set(edges))} pairs, {len(edges)} imports between rooms")
    if round_about := circles(edges):
        print(f"in a circle: {', '.join(sorted(round_about))}")
    else:
        print(f"{max(floors(edges).values())} floors")
        for name, floor in sorted(floors(edges).items(), key=lambda pair: pair[1]):
            print(f"  {floor:2} {name}")
