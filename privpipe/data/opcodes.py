"""What the pickles of a CIFAR-10 archive may hold, checked before the unpickler sees them."""

import pickletools
from typing import Any

from privpipe.errors import PrivpipeError

MAX_MEMO, MAX_TUPLES = 1 << 20, 25_000  # a batch of 10,000, written with Python 3, needs 50,000 and 10,005
MAX_OPCODES = 1 << 20
NEVER_WRITTEN = {"DUP", "EMPTY_SET", "ADDITEMS", "FROZENSET"}  # by a program that saves dictionaries, lists and arrays
TEXT = (pickletools.pybytes_or_str, pickletools.pybytes, pickletools.pyunicode, pickletools.pystring)


def check_opcodes(content: bytes) -> None:
    """Refuse what would exhaust memory, the stack or a lifetime inside the unpickler.

    It sizes its memo by the largest index that the pickle names. Its dictionaries and sets hash tuples by recursion in
    C, at a cost of 2^n for n tuples that each hold the one before twice, and take time that grows with the square of
    the number of integers that share a hash, as multiples of 2^61 - 1 do. So keys must be text, hashed with a salt,
    or come from a call (`ALLOWED` makes bytes, and objects that are hashed by identity).
    """
    tuples, stack, memo = 0, list[bool | None](), dict[int, bool | None]()  # whether it may be a key; None: a mark
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        name = opcode.name
        if count == MAX_OPCODES:
            raise PrivpipeError(f"holds more than {MAX_OPCODES:,} objects and steps")
        if "PUT" in name and argument is not None and argument > MAX_MEMO:
            raise PrivpipeError(f"stores object number {argument:,}")
        tuples += "TUPLE" in name
        if tuples > MAX_TUPLES:
            raise PrivpipeError(f"holds more than {MAX_TUPLES:,} tuples")
        if name in NEVER_WRITTEN:
            raise PrivpipeError(f"uses {name}")
        keys = _step(opcode, argument, stack, memo)
        if not all(keys):
            raise PrivpipeError("holds a dictionary with keys that are no text")


def _step(
    opcode: pickletools.OpcodeInfo, argument: Any, stack: list[bool | None], memo: dict[int, bool | None]
) -> list[bool | None]:
    """Do to `stack` and `memo` what an opcode does; the keys that it puts into a dictionary. IndexError: no pickle."""
    name = opcode.name
    if "PUT" in name or name == "MEMOIZE":
        memo[len(memo) if argument is None else int(argument)] = stack[-1]
        return []
    if "GET" in name:
        stack.append(memo[int(argument)])
        return []
    taken: list[bool | None] = []
    fixed = len(opcode.stack_before)
    if pickletools.markobject in opcode.stack_before:
        mark = len(stack) - 1
        while stack[mark] is not None:  # at the cost of what is taken off, whatever lies below it
            mark -= 1
            if mark < 0:
                raise IndexError("a mark is missing")
        taken, fixed = stack[mark + 1 :], opcode.stack_before.index(pickletools.markobject)
        del stack[mark:]
    elif name == "SETITEM":
        taken = stack[-2:]
    if fixed:
        stack[-fixed]  # IndexError where there are fewer
        del stack[-fixed:]
    for made in opcode.stack_after:
        stack.append(None if made is pickletools.markobject else made in TEXT or name == "REDUCE")
    return taken[::2] if name in ("SETITEM", "SETITEMS", "DICT") else []
