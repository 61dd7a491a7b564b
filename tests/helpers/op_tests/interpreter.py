"""Triton's interpreter, in half its time.

For each call of a function within a kernel it puts its own operations in the place of the language's once more. The launch has done so
already, and takes them out again at its end: once a launch is enough for each module of the language that functions refer to."""

import functools

from triton import language
from triton.runtime import interpreter


def patch_once_a_launch() -> None:
    """Leaves the interpreter as it is where it has other parts than these."""
    parts = ("_patch_lang", "_LangPatchScope", "GridExecutor")
    if not all(hasattr(interpreter, part) for part in parts) or hasattr(interpreter._patch_lang, "__wrapped__"):
        return
    patch, launch, nothing = interpreter._patch_lang, interpreter.GridExecutor.__call__, interpreter._LangPatchScope
    patched = set()

    @functools.wraps(patch)
    def patch_once(function):
        modules = frozenset(value.__name__ for value in function.__globals__.values() if value is language or value is language.core)
        if modules in patched:
            return nothing()
        patched.add(modules)
        return patch(function)

    @functools.wraps(launch)
    def launch_afresh(self, *arguments, **named):
        patched.clear()
        try:
            return launch(self, *arguments, **named)
        finally:
            patched.clear()

    interpreter._patch_lang = patch_once
    interpreter.GridExecutor.__call__ = launch_afresh
