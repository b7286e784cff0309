"""The tree against RFC 9162's own recursive definition, for every size and leaf up to a few tiles' edges."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.store.tree import merkle
from annals.store.tree.merkle import Frontier, LeafRange, ProofInvalid, TreeNode

LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(300)]


def defined(hashes: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, over hashed leaves."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    joined = b"\x01" + defined(hashes[:split]) + defined(hashes[split:])
    return hashlib.sha256(joined).digest()


def look_up(node: TreeNode) -> bytes:
    return defined(LEAVES[node.number << node.level : (node.number + 1) << node.level])


def grown(count: int) -> Frontier:
    frontier = Frontier()
    for leaf in LEAVES[:count]:
        frontier.append(leaf)
    return frontier


def test_leaves_and_nodes_are_hashed_apart() -> None:
    assert merkle.leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert merkle.node_hash(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 255, 256, 257, 300])
def test_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    assert grown(size).root() == merkle.root_of(size, look_up) == defined(LEAVES[:size])


@given(st.integers(1, 300), st.data())
def test_every_leaf_has_a_proof_that_fits_no_other_leaf(size: int, data: st.DataObject) -> None:
    leaf = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(leaf, size, look_up), defined(LEAVES[:size])

    merkle.check_inclusion(LEAVES[leaf], leaf, size, proof, root)

    with pytest.raises(ProofInvalid):
        merkle.check_inclusion(LEAVES[(leaf + 1) % 300], leaf, size, proof, root)
    if size > 1:
        with pytest.raises(ProofInvalid):
            merkle.check_inclusion(LEAVES[leaf], (leaf + 1) % size, size, proof, root)
        with pytest.raises(ProofInvalid):
            merkle.check_inclusion(LEAVES[leaf], leaf, size, proof[:-1], root)
    with pytest.raises(ProofInvalid):
        merkle.check_inclusion(LEAVES[leaf], leaf, size, [*proof, root], root)


@given(st.integers(1, 300), st.data())
def test_tree_is_proven_to_extend_a_former_tree(size: int, data: st.DataObject) -> None:
    former = data.draw(st.integers(1, size))
    old, new = (former, defined(LEAVES[:former])), (size, defined(LEAVES[:size]))
    proof = merkle.consistency_proof(former, size, look_up)

    merkle.check_consistency(old, new, proof)

    with pytest.raises(ProofInvalid):
        merkle.check_consistency((former, LEAVES[0] if former > 1 else LEAVES[1]), new, proof)
    with pytest.raises(ProofInvalid):
        merkle.check_consistency(old, (size, bytes(32)), proof)


@given(st.integers(0, 300), st.integers(0, 300))
def test_cover_is_exact_and_aligned(start: int, end: int) -> None:
    at = start
    for node in merkle.cover(LeafRange(start, end)):
        assert node.number << node.level == at
        at += 1 << node.level
    assert at == max(start, end)


def test_proof_of_a_missing_leaf_raises_an_error() -> None:
    for leaf, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="has no leaf"):
            merkle.inclusion_proof(leaf, size, look_up)
    for former, size in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="No tree"):
            merkle.consistency_proof(former, size, look_up)


def test_subtree_begins_where_it_can() -> None:
    frontier = grown(2)
    frontier.append(look_up(TreeNode(1, 1)), level=1)

    assert frontier.root() == defined(LEAVES[:4])
    with pytest.raises(ValueError, match="cannot begin"):
        grown(1).append(LEAVES[0], level=1)
