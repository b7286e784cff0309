"""A build's output reaches its sink as text, bounded, with the executor's own last line always there."""

import asyncio

from annals.executor.buildlog import KEPT, BuildLog


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
    log = BuildLog(ear.hear)
    for byte in "a é\r\nb\rc".encode():
        log.write(bytes([byte]))
    await log.close()

    assert ear.text.replace("\n\n", "\n") == "a é\nb\nc"


async def test_beyond_the_bound_only_the_last_line_comes() -> None:
    ear = Ear()
    log = BuildLog(ear.hear)
    for _ in range(30):
        log.write(b"x" * 100_000)
    log.line("The end.")
    await log.close()

    assert ear.text == "x" * KEPT + "\nThe end.\n"


async def test_output_is_heard_before_the_build_ends() -> None:
    ear = Ear()
    log = BuildLog(ear.hear)
    log.write(b"early")
    async with asyncio.timeout(60):
        while not ear.pieces:
            await asyncio.sleep(0.01)
    await log.close()

    assert ear.text == "early"


async def test_an_abandoned_log_says_nothing_more() -> None:
    ear = Ear()
    log = BuildLog(ear.hear)
    log.write(b"late")
    log.abandon()
    await asyncio.sleep(0.1)

    assert ear.text == ""
