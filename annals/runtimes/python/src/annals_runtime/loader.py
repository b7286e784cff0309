"""Loads a deployment's entrypoint once, for the first request."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from typing import Any, Callable

PACKAGE = "function"


class NotLoaded(Exception):
    """The entrypoint cannot be used; the message is logged in the execution's errors."""


class Loader:
    """The callable of one deployment. The next request repeats a failed load."""

    def __init__(self, code: str, entrypoint: str) -> None:
        self.code = code
        self.entrypoint = entrypoint
        self.main: Callable[[Any], Any] | None = None

    def load(self) -> Callable[[Any], Any]:
        """Return the callable. Raises NotLoaded."""
        if self.main is None:
            self.main = self.import_main()
        return self.main

    def import_main(self) -> Callable[[Any], Any]:
        path = os.path.join(self.code, self.entrypoint)
        if not os.path.isfile(path):
            raise NotLoaded(f"Failed to load entrypoint, file {self.entrypoint} does not exist.")
        try:
            self.make_package()
            module = importlib.import_module(self.module_name())
        except SyntaxError as error:
            raise NotLoaded(self.syntax_error(error)) from None
        except ModuleNotFoundError as error:
            raise NotLoaded(f"Module not found: {error.name or error}\n{self.trace(error)}") from None
        except BaseException as error:  # top-level code may also exit
            raise NotLoaded(f"Failed to load module: {message_of(error)}\n{self.trace(error)}") from None
        main = getattr(module, "main", None)
        if not callable(main):
            sys.modules.pop(module.__name__, None)
            raise NotLoaded("Function signature invalid. Did you forget to export a 'main' function?")
        return main

    def module_name(self) -> str:
        relative = os.path.splitext(os.path.normpath(self.entrypoint))[0]
        return ".".join([PACKAGE, *relative.split(os.sep)])

    def make_package(self) -> None:
        """Make the code's folder importable as the package `function`."""
        if PACKAGE in sys.modules:
            return
        init = os.path.join(self.code, "__init__.py")
        if os.path.isfile(init):
            spec = importlib.util.spec_from_file_location(PACKAGE, init, submodule_search_locations=[self.code])
        else:
            spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
            spec.submodule_search_locations = [self.code]
        assert spec is not None  # noqa: S101 - narrows the type only
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = module
        if spec.loader is not None:
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[PACKAGE]
                raise

    def syntax_error(self, error: SyntaxError) -> str:
        name = os.path.relpath(error.filename, self.code) if error.filename else self.entrypoint
        if name.startswith(".."):
            name = error.filename or name
        place = f"{name}, line {error.lineno}" if error.lineno else name
        return f"Syntax error in {place}: {error.msg}"

    def trace(self, error: BaseException) -> str:
        return format_trace(error, self.code)


def format_trace(error: BaseException, code: str) -> str:
    """Return the traceback from the first frame of user code, without frames of the server and importlib."""
    tb = error.__traceback__
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith(code):
        tb = tb.tb_next
    lines = traceback.format_exception(type(error), error, tb or error.__traceback__)
    return "".join(lines).rstrip("\n")


def message_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
