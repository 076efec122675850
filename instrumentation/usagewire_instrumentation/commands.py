"""Which commands of a command-line program are run: ``usage.command``, for click, argparse and anything else.

Nothing is printed, nothing is waited for: the event leaves the process with what OpenTelemetry hands over at its end.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from opentelemetry._logs import LoggerProvider

from usagewire_instrumentation.events import caller_scope, complain, emit_event
from usagewire_instrumentation.lifecycle import failure, qualified

if TYPE_CHECKING:
    from typing_extensions import Self

C = TypeVar("C")

_MARK = "_usagewire_recorded"
_ALIAS = "usagewire_instrumentation.alias"
PARSER = "A..."
"""`argparse.PARSER`, without importing it where it is not used."""


@overload
def record_command(
    command: str, *, scope: str | None = None, logger_provider: LoggerProvider | None = None
) -> CommandRun: ...
@overload
def record_command(command: C, *, scope: str | None = None, logger_provider: LoggerProvider | None = None) -> C: ...
def record_command(command: Any, *, scope: str | None = None, logger_provider: LoggerProvider | None = None) -> Any:
    """Emit ``usage.command`` for each command that is run, with its path (``applications list``), seconds, and the type
    of the error it ended by. Arguments and options stay out of it.

    ``command`` is a click command or group, whose subcommands are followed (also as ``@record_command`` above
    ``@click.group()``); an `argparse.ArgumentParser`, whose next `parse_args` begins a run that ends with the process;
    or a path, for a context manager around whatever runs it. The first two come back as they were. A program without
    subcommands goes by its scope. ``scope`` and ``logger_provider`` as in `emit_event`.
    """
    about = _About(caller_scope() if scope is None else scope, logger_provider)
    if isinstance(command, str):
        return CommandRun(command, about)
    try:
        if callable(getattr(command, "make_context", None)) and callable(getattr(command, "invoke", None)):
            _follow_click(command, about)
        elif callable(getattr(command, "parse_known_args", None)):
            _follow_argparse(command, about)
        else:
            complain("%s is not followed: neither a click command nor an argparse parser", qualified(type(command)))
    except Exception as error:  # a framework of a version we have not met
        complain("%s is not followed: %s", qualified(type(command)), type(error).__name__)
    return command


class _About:
    """Whose events these are."""

    def __init__(self, scope: str, provider: LoggerProvider | None) -> None:
        self.scope, self.provider = scope, provider


class CommandRun:
    """One run of a command: from entering to leaving, or to `end`."""

    def __init__(self, path: str, about: _About, alias: str | None = None) -> None:
        self._path, self._about, self._alias = path, about, alias
        self._since = time.monotonic()
        self._over = False

    def __enter__(self) -> Self:
        self._since, self._over = time.monotonic(), False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Emit the event, once. Ctrl-C and the ways to say an exit status are no errors."""
        if self._over:
            return
        self._over = True
        attributes: dict[str, Any] = {"usage.command.path": self._path}
        if self._alias is not None:
            attributes["usage.command.alias"] = self._alias
        attributes["usage.command.duration"] = time.monotonic() - self._since
        wrong = failure(error)
        if wrong is not None and not _says_status(wrong):
            attributes["error.type"] = qualified(type(wrong))
        emit_event("usage.command", attributes, scope=self._about.scope, logger_provider=self._about.provider)


def _says_status(error: Exception) -> bool:
    kind = type(error)
    return kind.__module__ == "click.exceptions" and kind.__name__ in ("Exit", "Abort")


# -- click --------------------------------------------------------------------------------------------------------


def _follow_click(command: Any, about: _About) -> None:
    """Have ``command`` record its runs, and a group those of whatever it resolves to, however late that is loaded."""
    if getattr(command, _MARK, False):
        return
    setattr(command, _MARK, True)
    command.invoke = _recorded(command.invoke, about)
    if callable(getattr(command, "resolve_command", None)):
        command.resolve_command = _resolving(command.resolve_command, about)


def _recorded(invoke: Callable[[Any], Any], about: _About) -> Callable[[Any], Any]:
    @wraps(invoke)
    def record(context: Any) -> Any:
        run = CommandRun(_click_path(context) or about.scope, about, context.meta.get(_ALIAS))
        try:
            result = invoke(context)
        except BaseException as error:
            if not _is_passed_through(context, error):
                run.end(error)
            raise
        if not _is_passed_through(context):
            run.end()
        return result

    return record


def _is_passed_through(context: Any, error: BaseException | None = None) -> bool:
    """Whether the command is a group that only led to another one, or to none."""
    if not hasattr(context.command, "resolve_command"):
        return False
    return context.invoked_subcommand is not None or any(kind.__name__ == "UsageError" for kind in type(error).__mro__)


def _resolving(resolve: Callable[..., Any], about: _About) -> Callable[..., Any]:
    @wraps(resolve)
    def follow(context: Any, args: list[str]) -> Any:
        typed = args[0] if args else None
        name, command, rest = resolve(context, args)
        if command is not None:
            _follow_click(command, about)
            context.meta[_ALIAS] = typed if typed != name else None
        return name, command, rest

    return follow


def _click_path(context: Any) -> str:
    """``applications list``: without the program, whose name is the user's affair, and without any argument."""
    names: list[str] = []
    while context.parent is not None:
        names.append(str(context.info_name or context.command.name or ""))
        context = context.parent
    return " ".join(reversed(names))


# -- argparse -----------------------------------------------------------------------------------------------------


def _follow_argparse(parser: Any, about: _About) -> None:
    """Have ``parser`` begin the process's run when it has parsed; parsing again corrects what it parsed before."""
    if getattr(parser, _MARK, False):
        return
    setattr(parser, _MARK, True)
    parse = parser.parse_known_args
    path: list[str] = []
    runs: list[CommandRun] = []

    @wraps(parse)
    def record(*args: Any, **kwargs: Any) -> Any:
        path.clear()
        _listen(parser, path)
        result = parse(*args, **kwargs)
        runs[:] = [CommandRun(" ".join(path) or about.scope, about)]
        return result

    parser.parse_known_args = record
    # Exit handlers run newest first: the provider, which the program was started with, is still there.
    atexit.register(_end, runs)


def _end(runs: list[CommandRun]) -> None:
    for run in runs:
        run.end(getattr(sys, "last_value", None))


def _listen(parser: Any, path: list[str]) -> None:
    """Have every subparser add its first name to ``path`` when its turn comes."""
    for action in parser._actions:
        if action.nargs == PARSER and isinstance(action.choices, Mapping):
            for name, subparser in cast("Mapping[str, Any]", action.choices).items():
                if not getattr(subparser, _MARK, False):  # under an alias it comes again
                    setattr(subparser, _MARK, True)
                    subparser.parse_known_args = _noting(subparser.parse_known_args, name, path)
                _listen(subparser, path)


def _noting(parse: Callable[..., Any], name: str, path: list[str]) -> Callable[..., Any]:
    @wraps(parse)
    def note(*args: Any, **kwargs: Any) -> Any:
        path.append(name)
        return parse(*args, **kwargs)

    return note
