"""A build's output reaches its sink as text, limited in size, always with the executor's own last line."""

import asyncio

from annals.executor.builds.supervise import BuildOutputStream
from annals.executor.logs.excerpt import FIRST_BYTES, KEPT_BYTES


class Ear:
    def __init__(self) -> None:
        self.pieces: list[str] = []

    async def hear(self, text: str) -> None:
        self.pieces.append(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def test_characters_cut_in_two_arrive_whole_and_line_ends_are_plain() -> None:
    ear = Ear()
    log = BuildOutputStream(ear.hear)
    for byte in "a é\r\nb\rc".encode():
        log.write(bytes([byte]))
    await log.close()

    assert ear.text == "a é\nb\nc"


async def test_log_that_is_too_long_keeps_both_ends_and_the_executors_last_line() -> None:
    ear = Ear()
    log = BuildOutputStream(ear.hear)
    for _ in range(30):
        log.write(b"x" * 99_999 + b"\r\n")
    log.write(b"why it failed")
    log.line("The end.")
    await log.close()

    first, left_out, last = ear.text.partition("bytes left out")
    assert len(ear.text.encode()) <= KEPT_BYTES
    assert len(first) > FIRST_BYTES
    assert left_out
    assert last.endswith("x\nwhy it failed\nThe end.\n")
    assert log.ends_with("The end.")


async def test_last_line_is_known_also_when_it_is_not_shown_yet() -> None:
    log = BuildOutputStream(Ear().hear)
    log.write(b"x" * 2 * KEPT_BYTES + b"\r\n\x1b[31mError: No build output found.\x1b[0m\r\n")

    assert log.ends_with("Error: No build output found.")
    await log.close()


async def test_output_reaches_the_sink_before_the_build_ends() -> None:
    ear = Ear()
    log = BuildOutputStream(ear.hear)
    log.write(b"early")
    async with asyncio.timeout(60):
        while not ear.pieces:
            await asyncio.sleep(0.01)
    await log.close()

    assert ear.text == "early"


async def test_abandoned_output_sends_nothing_more() -> None:
    ear = Ear()
    log = BuildOutputStream(ear.hear)
    log.write(b"late")
    log.abandon()
    await asyncio.sleep(0.1)

    assert ear.text == ""
