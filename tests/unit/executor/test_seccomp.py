"""The compiled filter decides as the policy says; a small interpreter runs it as the kernel would."""

import errno
import struct

import pytest

from annals.executor.isolation.seccomp import ALLOW, ARCHITECTURES, ERRNO, compile_filter

DENIED = ERRNO | errno.EPERM
MISSING = ERRNO | errno.ENOSYS
NO_FAMILY = ERRNO | errno.EAFNOSUPPORT


def decide(machine: str, number: int, *arguments: int, audit: int | None = None, watched: bool = False) -> int:
    """Run the filter over `struct seccomp_data`."""
    audit = ARCHITECTURES[machine].audit if audit is None else audit
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("=HBBI", compile_filter(machine, watched=watched)))
    at = accumulator = 0
    while True:
        code, then, otherwise, value = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return int(value)
        else:
            hit = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += then if hit else otherwise


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_usual_calls_are_allowed(machine: str) -> None:
    reads = {"x86_64": (0, 1, 9, 59, 202, 231), "aarch64": (63, 64, 222, 221, 98, 94)}

    assert {decide(machine, number) for number in reads[machine]} == {ALLOW}


def test_named_calls_are_denied(machine: str) -> None:
    mount = {"x86_64": 165, "aarch64": 40}[machine]
    ptrace = {"x86_64": 101, "aarch64": 117}[machine]
    unshare = {"x86_64": 272, "aarch64": 97}[machine]
    io_uring_setup = 425

    assert {decide(machine, number) for number in (mount, ptrace, unshare, io_uring_setup)} == {DENIED}


def test_threads_and_forks_are_allowed_but_no_namespaces(machine: str) -> None:
    clone = ARCHITECTURES[machine].clone
    thread, fork, new_user, new_net = 0x3D0F00, 17, 0x10000000 | 17, 0x40000000 | 17

    assert [decide(machine, clone, flags) for flags in (thread, fork)] == [ALLOW, ALLOW]
    assert [decide(machine, clone, flags) for flags in (new_user, new_net)] == [DENIED, DENIED]


def test_clone3_is_said_to_be_missing_so_that_libc_falls_back(machine: str) -> None:
    assert decide(machine, 435) == MISSING


@pytest.mark.parametrize(
    ("family", "protocol", "answer"),
    [
        (1, 0, ALLOW),
        (2, 6, ALLOW),
        (10, 17, ALLOW),
        (16, 0, ALLOW),
        (16, 12, NO_FAMILY),
        (17, 3, NO_FAMILY),
        (40, 0, NO_FAMILY),
    ],
)
def test_sockets_of_usual_families_only(machine: str, family: int, protocol: int, answer: int) -> None:
    assert decide(machine, ARCHITECTURES[machine].socket, family, 1, protocol) == answer


def test_no_terminal_is_typed_into(machine: str) -> None:
    ioctl = ARCHITECTURES[machine].ioctl

    assert decide(machine, ioctl, 0, 0x5412) == DENIED
    assert decide(machine, ioctl, 0, 0x5401) == ALLOW


def test_personalities_are_the_harmless_ones(machine: str) -> None:
    personality = ARCHITECTURES[machine].personality

    assert decide(machine, personality, 0xFFFFFFFF) == ALLOW
    assert decide(machine, personality, 0x0040000) == DENIED


def test_other_instruction_sets_find_no_calls_at_all(machine: str) -> None:
    assert decide(machine, 0, audit=0x40000003) == MISSING


def test_second_numbering_of_x86_finds_no_calls() -> None:
    assert decide("x86_64", 0x40000000 + 1) == MISSING


UNSEEN = {"x86_64": (319, 29, 68, 64, 278), "aarch64": (279, 194, 186, 190, 75)}
MMAP = {"x86_64": 9, "aarch64": 222}
SHARED, PRIVATE, ANONYMOUS, NO_RESERVE, POPULATE = 1, 2, 0x20, 0x4000, 0x8000


def test_memory_out_of_sight_is_refused_where_memory_is_watched_only(machine: str) -> None:
    numbers = UNSEEN[machine]

    assert [decide(machine, number, watched=True) for number in numbers] == [MISSING] * len(numbers)
    assert [decide(machine, number) for number in numbers] == [ALLOW] * len(numbers)


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (SHARED | ANONYMOUS, DENIED),
        (SHARED | ANONYMOUS | NO_RESERVE | POPULATE, DENIED),
        (PRIVATE | ANONYMOUS, ALLOW),
        (PRIVATE | ANONYMOUS | NO_RESERVE, ALLOW),
        (SHARED, ALLOW),
        (PRIVATE, ALLOW),
    ],
)
def test_memory_is_shared_by_files_alone_where_it_is_watched(machine: str, flags: int, answer: int) -> None:
    assert decide(machine, MMAP[machine], 0, 4096, 3, flags, watched=True) == answer
    assert decide(machine, MMAP[machine], 0, 4096, 3, flags) == ALLOW
