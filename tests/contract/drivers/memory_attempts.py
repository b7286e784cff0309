"""Ways to allocate too much memory. Each prints `HELD`, `REFUSED`, or `LOST` if other processes were killed."""

import base64

MEGABYTES = 400
"""Far beyond the limit, in steps that a watchdog can observe."""

_PROGRAM = """
import ctypes, mmap, os, socket, sys, time
MB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
kept = []

def touch(mapped, size):
    for at in range(0, size, 4096):
        mapped[at] = 1

def steps(size=20):
    for _ in range(0, MEGABYTES, size):
        time.sleep(0.02)
        yield size * MB

def write(fd, size):
    for _ in range(size // MB):
        os.write(fd, b"x" * MB)

def anonymous():
    for size in steps():
        kept.append(b"x" * size)

def held_by_others():
    time.sleep(1)
    sizes = [open(f"/proc/{pid}/statm").read().split()[1] for pid in os.listdir("/proc") if pid.isdigit()]
    if sum(map(int, sizes)) * 4096 < MEGABYTES * MB * 0.9:
        sys.exit("LOST")

def forks():
    for size in steps(100):
        if os.fork() == 0:
            kept.append(b"x" * size)
            time.sleep(600)
    held_by_others()

def orphans():
    for size in steps(50):
        if os.fork() == 0:
            if os.fork() == 0:
                kept.append(b"x" * size)
                time.sleep(600)
            os._exit(0)
        os.wait()
    held_by_others()

def shared():
    for size in steps():
        mapped = mmap.mmap(-1, size)
        touch(mapped, size)
        kept.append(mapped)

def shared_of_exited_parents():
    for size in steps():
        mapped = mmap.mmap(-1, size)
        if os.fork() == 0:
            touch(mapped, size)
            os._exit(0)
        os.wait()
        kept.append(mapped)

def shared_zero():
    for size in steps():
        mapped = mmap.mmap(os.open("/dev/zero", os.O_RDWR), size)
        touch(mapped, size)
        kept.append(mapped)

def memfd():
    for size in steps():
        kept.append(os.memfd_create("x"))
        write(kept[-1], size)

def memfd_mapped():
    for size in steps():
        fd = os.memfd_create("x")
        os.ftruncate(fd, size)
        mapped = mmap.mmap(fd, size)
        touch(mapped, size)
        kept.append(mapped)
        os.close(fd)

def memfd_in_sockets():
    for size in steps():
        fd = os.memfd_create("x")
        write(fd, size)
        pair = socket.socketpair()
        socket.send_fds(pair[0], [b"x"], [fd])
        kept.append(pair)
        os.close(fd)

def system_v():
    libc.shmat.restype = ctypes.c_void_p
    for size in steps():
        found = libc.shmget(0, ctypes.c_size_t(size), 0o1600)
        if found < 0:
            raise OSError(ctypes.get_errno(), "shmget")
        at = libc.shmat(found, None, 0)
        ctypes.memset(at, 1, size)
        libc.shmdt(ctypes.c_void_p(at))

def files_in(folder, deleted=False, mapped=False):
    def attempt():
        for number, size in enumerate(steps()):
            fd = os.open(f"{folder}/{number}", os.O_RDWR | os.O_CREAT)
            kept.append(fd)
            if deleted:
                os.unlink(f"{folder}/{number}")
            write(fd, size)
            if mapped:
                kept.append(mmap.mmap(fd, size))
                touch(kept[-1], size)
    return attempt

def dev_shm_and_anonymous():
    # each alone is within the limit
    fd = os.open("/dev/shm/x", os.O_RDWR | os.O_CREAT)
    for _ in range(3):
        write(fd, 20 * MB)
    for _ in range(4):
        kept.append(b"x" * 20 * MB)

def tables():
    # a page that was only read is the kernel's one of zeros, but the table that leads to it is not
    span = 2 * MB
    reserved = mmap.mmap(-1, MEGABYTES * 1024 * 1024 // 4096 * span, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    libc.madvise(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(reserved))), len(reserved), 15)
    for at in range(0, len(reserved), span):
        reserved[at]
        if at % (2000 * span) == 0:
            time.sleep(0.01)

WAYS = {
    "anonymous": anonymous,
    "forks": forks,
    "orphans": orphans,
    "shared": shared,
    "shared of exited parents": shared_of_exited_parents,
    "shared zero": shared_zero,
    "memfd": memfd,
    "memfd mapped": memfd_mapped,
    "memfd in sockets": memfd_in_sockets,
    "system v": system_v,
    "temporary files": files_in("/tmp"),
    "deleted temporary files": files_in("/tmp", deleted=True),
    "mapped temporary files": files_in("/tmp", mapped=True),
    "files in dev shm beside anonymous": dev_shm_and_anonymous,
    "mapped files": files_in("/usr/local/build", mapped=True),
    "page tables": tables,
}
try:
    WAYS[WAY]()
    time.sleep(2)
    print("HELD", flush=True)
except (OSError, MemoryError) as refused:
    print("REFUSED", refused, flush=True)
"""

ANY = (
    *("anonymous", "forks", "orphans", "shared", "shared of exited parents", "shared zero"),
    *("memfd", "memfd mapped", "memfd in sockets", "system v"),
    *("temporary files", "deleted temporary files", "mapped temporary files", "files in dev shm beside anonymous"),
)
WATCHED = (*ANY, "mapped files", "page tables")
"""The kernel takes back pages of files when it needs them; a watchdog can only count them."""


def command(way: str) -> str:
    """A command that tries one way."""
    program = f"WAY, MEGABYTES = {way!r}, {MEGABYTES}\n{_PROGRAM}"
    return f"echo {base64.b64encode(program.encode()).decode()} | base64 -d | python3 -"
