"""Sequences that may be longer than memory: of each item only its place is in it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .scratch import Scratch

Item = TypeVar("Item")


class Keeper(Generic[Item]):
    """Takes items one by one; `items` are then a sequence of them.

    Args:
        dump: The bytes of an item.
        load: The item of these bytes.
    """

    def __init__(self, dump: Callable[[Item], bytes], load: Callable[[bytes], Item]) -> None:
        self._dump, self._load = dump, load
        self._scratch = Scratch()
        self._starts = array("q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, item: Item) -> None:
        """Takes one more item.

        Raises:
            TuneError: `NEEDS_SPACE` or `SCRATCH_FOLDER`, if the disk doesn't take it.
        """
        self._starts.append(self._scratch.append(self._dump(item)))

    def items(self) -> Kept[Item]:
        """All that was taken; nothing may be added afterwards.

        Raises:
            TuneError: `NEEDS_SPACE`, if the disk is full.
        """
        self._scratch.flush()
        starts = np.frombuffer(self._starts, np.int64)
        every = np.arange(len(self), dtype=np.int64)
        return Kept(self._scratch, self._load, starts, every)


class Kept(Sequence[Item]):
    """Some of a keeper's items, in an order. Each is made anew whenever it is asked for.

    Args:
        scratch: Where the items are.
        load: Makes an item of its bytes.
        starts: `[n + 1]` int64 places where they begin, and the end.
        chosen: `[m]` int64 numbers of those that this sequence has.
    """

    def __init__(
        self,
        scratch: Scratch,
        load: Callable[[bytes], Item],
        starts: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
    ) -> None:
        self._scratch, self._load = scratch, load
        self._starts, self._chosen = starts, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Kept[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Kept[Item]:
        if isinstance(index, slice):
            return Kept(self._scratch, self._load, self._starts, self._chosen[index])
        return self._item(self._chosen[index])

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, self._chosen)

    def __reduce__(self) -> tuple[type, tuple[tuple[Item, ...]]]:
        return tuple, (tuple(self),)  # copied, or sent to another process, it is in memory

    def take(self, places: npt.NDArray[np.int64]) -> Kept[Item]:
        """The items at some places of this sequence, in their order."""
        return Kept(self._scratch, self._load, self._starts, self._chosen[places])

    def _item(self, number: np.int64) -> Item:
        start, stop = self._starts[number], self._starts[number + 1]
        return self._load(self._scratch.read(int(start), int(stop - start)))


class Joined(Sequence[Item]):
    """Several sequences, one after the other, without a copy."""

    def __init__(self, *parts: Sequence[Item]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Item]:
        for part in self._parts:
            yield from part

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Joined[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Joined[Item]:
        if isinstance(index, slice):
            return Joined([self[place] for place in range(*index.indices(len(self)))])
        place = range(len(self))[index]
        for part in self._parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise AssertionError("range() has checked the index")
