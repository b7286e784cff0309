"""Merkle trees with the hashing of RFC 9162: the nodes of a root or a proof, and the check of a proof.

Level and index name a node: level 0 has the leaves, node (l, i) covers the leaves from i·2^l to before (i+1)·2^l. Only
complete nodes have a name; the incomplete right edge is folded from them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32

_sha256 = hashlib.sha256


class TreeNode(NamedTuple):
    """A complete node."""

    level: int
    number: int


class LeafRange(NamedTuple):
    """Leaves from `start` to before `end`."""

    start: int
    end: int


Lookup = Callable[[TreeNode], bytes]
"""Returns the hash of a complete node."""


class ProofInvalid(Exception):
    """A proof does not lead to its root."""


def leaf_hash(data: bytes) -> bytes:
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


def fold_level(hashes: bytes) -> bytes:
    """Return the parents of an even number of neighbours, both as joined hashes."""
    sha256 = _sha256
    return b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])


def fold(hashes: bytes) -> bytes:
    """Return the root over joined hashes, whose number is a power of two."""
    while len(hashes) > HASH_BYTES:
        hashes = fold_level(hashes)
    return hashes


class Frontier:
    """A growing tree, as the roots of its complete subtrees, the largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, root: bytes, level: int = 0) -> None:
        """Add a leaf, or a complete subtree of 2^level leaves. Raises ValueError if none can begin at this size."""
        if self.size & ((1 << level) - 1):
            raise ValueError(f"A subtree of {1 << level} leaves cannot begin at leaf {self.size}")
        before, self.size = self.size >> level, self.size + (1 << level)
        while before & 1:
            root = node_hash(self._roots.pop(), root)
            before >>= 1
        self._roots.append(root)

    def root(self) -> bytes:
        return join(self._roots) if self._roots else EMPTY_ROOT

    def copy(self) -> "Frontier":
        made = Frontier()
        made.size, made._roots = self.size, [*self._roots]
        return made


def join(roots: Sequence[bytes]) -> bytes:
    """Return the root over neighbouring subtrees that shrink from left to right."""
    joined = roots[-1]
    for left in reversed(roots[:-1]):
        joined = node_hash(left, joined)
    return joined


def cover(span: LeafRange) -> Iterator[TreeNode]:
    """Yield the fewest complete nodes that cover some leaves, from left to right."""
    at, end = span
    while at < end:
        aligned = (at & -at).bit_length() - 1 if at else end.bit_length()
        level = min(aligned, (end - at).bit_length() - 1)
        yield TreeNode(level, at >> level)
        at += 1 << level


def root_of(size: int, look_up: Lookup) -> bytes:
    """Return the root of the tree's first `size` leaves."""
    return _hash(LeafRange(0, size), look_up) if size else EMPTY_ROOT


def inclusion_proof(leaf: int, size: int, look_up: Lookup) -> list[bytes]:
    """Return the path from a leaf to the root of a tree of `size` leaves (RFC 9162, 2.1.3.1)."""
    if not 0 <= leaf < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {leaf}")
    return [_hash(span, look_up) for span in _path(leaf, LeafRange(0, size))]


def consistency_proof(former: int, size: int, look_up: Lookup) -> list[bytes]:
    """Return the proof that a tree of `size` leaves begins with the tree of `former` leaves (RFC 9162, 2.1.4.1)."""
    if not 0 < former <= size:
        raise ValueError(f"No tree of {former} leaves is the beginning of one of {size}")
    return [_hash(span, look_up) for span in _subproof(former, LeafRange(0, size), whole=True)]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofInvalid unless a leaf's hash is at this index of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} leaves has no leaf {index}")
    at, last, joined = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofInvalid("the path is too long")
        if at & 1 or at == last:
            joined = node_hash(step, joined)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            joined = node_hash(joined, step)
        at, last = at >> 1, last >> 1
    if last or joined != root:
        raise ProofInvalid("the path does not lead to the root")


def check_consistency(former: tuple[int, bytes], later: tuple[int, bytes], proof: Sequence[bytes]) -> None:
    """Raises ProofInvalid unless one tree (size, root) is the beginning of another (RFC 9162, 2.1.4.2)."""
    (size, root), (later_size, later_root) = former, later
    if not 0 < size <= later_size:
        raise ProofInvalid("the sizes do not allow a proof")
    if size == later_size:
        if proof or root != later_root:
            raise ProofInvalid("trees of one size have one root")
        return
    path = [root, *proof] if size & (size - 1) == 0 else list(proof)
    if not path:
        raise ProofInvalid("the proof is empty")
    at, last = size - 1, later_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, step)
        at, last = at >> 1, last >> 1
    if last or old != root or new != later_root:
        raise ProofInvalid("the proof does not join the two roots")


def _hash(span: LeafRange, look_up: Lookup) -> bytes:
    return join([look_up(node) for node in cover(span)])


def _split(span: LeafRange) -> int:
    """Return the end of a tree's left half: the largest power of two below its size."""
    return span.start + (1 << ((span.end - span.start - 1).bit_length() - 1))


def _path(leaf: int, span: LeafRange) -> list[LeafRange]:
    if span.end - span.start == 1:
        return []
    middle = _split(span)
    if leaf < middle:
        return [*_path(leaf, LeafRange(span.start, middle)), LeafRange(middle, span.end)]
    return [*_path(leaf, LeafRange(middle, span.end)), LeafRange(span.start, middle)]


def _subproof(former: int, span: LeafRange, *, whole: bool) -> list[LeafRange]:
    if former == span.end:
        return [] if whole else [span]
    middle = _split(span)
    if former <= middle:
        return [*_subproof(former, LeafRange(span.start, middle), whole=whole), LeafRange(middle, span.end)]
    return [*_subproof(former, LeafRange(middle, span.end), whole=False), LeafRange(span.start, middle)]
