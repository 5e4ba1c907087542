"""Code in an attack that is neither Foolbox's nor this package's: the suite's own, or another's.

Nothing that is asked of a model tells how an attack would search today. So what such an attack
measured answers no later run, and a baseline holds what the attack was made of.
"""

import hashlib
import inspect
import time
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module, metadata
from pathlib import Path, PurePath
from typing import Any

import torch

from pytest_aerobust.attacks.build import build_attack
from pytest_aerobust.attacks.search import setting_text
from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.history.cache.identity import names_in, of_library
from pytest_aerobust.history.holdings import (
    WRAPPERS,
    anywhere,
    attributes,
    held,
    known,
    name_of,
    says_all,
    told,
)

_SECONDS = 2.0
# What stands for code that takes longer to follow, and compares with nothing.
NOT_FOLLOWED = f"not followed, as that takes more than {_SECONDS:g} s"
_CODE, _PRIVATE = "attack code", "private settings"
# Settings that may name a folder or a device.
_PLACES = (str, PurePath, torch.device)
# Globals that Python sets, by where the module lies and how it was imported.
_OF_PYTHON = {
    *("__builtins__", "__cached__", "__file__", "__loader__", "__name__", "__package__"),
    *("__path__", "__spec__", "__doc__"),
}


class AttackCodes:
    """What a session's attacks are made of, as it was when each was first asked for.

    A run may change what its attacks name (a counter, a table of what was found), and by which
    tests ran before. So the session asks before the first of them runs.

    Args:
        root: The suite's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # By id, which is unique only while the object lives: a choice has no hash.
        self._codes: dict[int, tuple[AttackChoice, str]] = {}
        self._read: dict[int, Mapping[str, str]] = {}
        self._too_long: set[str] = set()

    def of(self, choice: AttackChoice) -> Mapping[str, str]:
        """An instance's settings, and :meth:`code` where there is any."""
        code = self.code(choice)
        if id(choice) not in self._read:
            self._read[id(choice)] = {**self._settings(choice), **({_CODE: code} if code else {})}
        return self._read[id(choice)]

    def code(self, choice: AttackChoice) -> str:
        """A digest of the code in an attack that comes with no version; empty where there is none.

        It is of source texts, and of the values that these name, so that another Python gives the
        same. :data:`NOT_FOLLOWED` where that takes too long, of each attack tried once.
        """
        if id(choice) not in self._codes:
            self._codes[id(choice)] = choice, self._digest(choice)
        return self._codes[id(choice)][1]

    def _settings(self, choice: AttackChoice) -> dict[str, str]:
        """What an instance of the user's own was told, and what it keeps to itself."""
        if choice.ready is None:
            return {}
        public = build_attack(choice).strength.items()
        settings = {name: anywhere(text, self._root) for name, text in public}
        private = {
            name: anywhere(str(value), self._root) if isinstance(value, _PLACES) else value
            for name, value in vars(choice.ready).items()
            if name.startswith("_")
        }
        return {**settings, _PRIVATE: setting_text(private)} if private else settings

    def _digest(self, choice: AttackChoice) -> str:
        attack = _class_of(choice) if choice.ready is None else choice.ready
        name = name_of(attack if isinstance(attack, type) else type(attack))
        if name in self._too_long:
            return NOT_FOLLOWED
        until = time.perf_counter() + _SECONDS
        walk = _Walk([attack, choice.arguments], until, self._root)
        try:
            walk.follow()
        except TimeoutError:
            self._too_long.add(name)
            return NOT_FOLLOWED
        if not walk.found:
            return ""
        return hashlib.blake2b("\0".join(walk.texts).encode(), digest_size=8).hexdigest()


def _class_of(choice: AttackChoice) -> Any:
    """The class of a named attack; None where a package is missing, which is said elsewhere."""
    module, _, name = choice.spec.classes[choice.norm].rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None


class _Walk:
    """Collects the texts of all code that an attack holds and names.

    Args:
        values: Where to start.
        until: When to stop, by `time.perf_counter`.
        root: The suite's folder.

    Attributes:
        found: Whether there is any.
        texts: In the order in which they are met, with the values that code names.
    """

    def __init__(self, values: Iterable[Any], until: float, root: Path) -> None:
        self.found = False
        self.texts: list[str] = []
        self._until, self._root = until, root
        # Each with whether code names it, so that its own values are told, too.
        self._waiting = deque((value, False) for value in values)
        self._seen: set[int] = set()
        # An id is unique only while its object lives.
        self._alive: list[Any] = []

    def follow(self) -> None:
        """Look for code in the values, and in what they hold.

        Raises:
            TimeoutError: That takes too long.
        """
        while self._waiting:
            if time.perf_counter() > self._until:
                raise TimeoutError
            value, named = self._waiting.popleft()
            if id(value) not in self._seen and not says_all(value):
                self._seen.add(id(value))
                self._alive.append(value)
                self._visit(value, named)

    def _visit(self, value: Any, named: bool) -> None:
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, torch.jit.ScriptFunction | torch.jit.ScriptModule):
            self._compiled(value)
        else:
            for name, each in self._held(value):
                if named:
                    self._named(name, each)
                else:
                    self._waiting.append((each, False))

    def _held(self, value: Any) -> list[tuple[str, Any]]:
        try:
            return list(held(value))
        except Exception:  # code of the user's that runs when it is looked at
            return [("class", type(value))]

    def _class(self, value: type) -> None:
        for base in value.__mro__:
            users = self._is_users(base.__module__)
            if users:
                self._source(base, base)
            for name, member in sorted(vars(base).items()):
                if isinstance(member, (types.FunctionType, *WRAPPERS)):
                    # Somebody may have put it there afterwards, or wrapped it.
                    self._waiting.append((member, users))
                elif users and not name.startswith("__"):
                    self._named(name, member)

    def _function(self, value: types.FunctionType) -> None:
        """A function, by where its code lies: what wraps another is called as that is."""
        module = value.__globals__.get("__name__", value.__module__)
        users = self._is_users(module)
        if users:
            self._source(value, value.__code__)
        if users or not known(value.__module__):
            for name, each in (*_kept(value), *(_globals(value) if users else ())):
                self._named(name, each)

    def _compiled(self, value: Any) -> None:
        """Code of torch's own, without the lines that it was made of: these name files."""
        self.found = True
        self.texts.append(value.inlined_graph.str(False))
        if isinstance(value, torch.jit.ScriptModule):
            self._named("state", value.state_dict())

    def _is_users(self, module: str) -> bool:
        """Whether a module's code is to be read; of another library its version is told."""
        if known(module):
            return False
        if not of_library(module):
            return True
        root = module.partition(".")[0]
        text = f"{root} {_version(root)}"
        if text not in self.texts:
            self.texts.append(text)
        self.found = True
        return False

    def _source(self, named: Any, code: Any) -> None:
        try:
            text = inspect.getsource(code)
        except (OSError, TypeError):  # made by exec, or in a shell
            text = "without source"
        self.texts.append(f"{named.__qualname__}\n{text}")
        self.found = True

    def _named(self, name: str, value: Any) -> None:
        self.texts.append(f"{name}={self._told(value)}")
        self._waiting.append((value, True))

    def _told(self, value: Any) -> str:
        try:
            return told(value, self._root)
        except Exception:  # as in `_held`; a tensor without content, too
            return name_of(type(value))


def _kept(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function holds, whatever it names."""
    yield "defaults", function.__defaults__
    yield "keywords", function.__kwdefaults__
    yield from attributes(function)
    yield from _cells(function)


def _cells(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function's names stand for; those of a user's module are looked up in it, too."""
    names = [*dict.fromkeys(names_in(function.__code__))]
    names = [name for name in names if name not in _OF_PYTHON]
    waiting, seen = [function.__globals__], {function.__module__}
    while waiting:
        scope = waiting.pop()
        for name in names:
            value = scope.get(name, scope)
            if value is scope:
                continue
            yield name, value
            inner = value.__name__ if isinstance(value, types.ModuleType) else None
            if inner is not None and inner not in seen and not known(inner):
                seen.add(inner)
                if not of_library(inner):
                    waiting.append(vars(value))


def _version(root: str) -> str:
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        return ""
