"""Signatures of calls whose arguments mean what a command among them says."""

from __future__ import annotations

from collections.abc import Callable

from abi.decoding.values import Printer, Signature, View, first_late, hexadecimal, plain

Choice = Callable[[View], "tuple[Printer, ...]"]


class Chosen(Signature):
    """A signature of which only the first printers are fixed; a command among those chooses the others.

    So it is the command too that decides what waits for the call's end.
    """

    __slots__ = ("choose", "fixed")

    def __init__(self, *fixed: Printer, choose: Choice, result=plain) -> None:
        super().__init__((*fixed, *(hexadecimal,) * (6 - len(fixed))), result)
        self.fixed = fixed
        self.choose = choose

    def _printed(self, view: View, is_late: bool) -> list[str]:
        printers = (*self.fixed, *self.choose(view))
        first = first_late(printers)
        view.partial = first < len(printers)
        words = []
        for index, printer in enumerate(printers):
            if (index >= first) is is_late:
                word = printer(view, view.args[index])
                if word is not None:
                    words.append(word)
        return words

    def early(self, view: View) -> list[str]:
        return self._printed(view, False)

    def late(self, view: View) -> list[str]:
        return self._printed(view, True)
