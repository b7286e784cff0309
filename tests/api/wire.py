"""A raw connection to the API, for bytes that no library would send, and functions that return their input."""

import re
import socket
from urllib.parse import urlsplit

NODE = """
module.exports = async ({ req, res }) => {
  if (req.path === '/slow') await new Promise((done) => setTimeout(done, 2500));
  const hex = (text) => Buffer.from(text ?? '').toString('hex');
  const said = { body: hex(req.bodyText), header: hex(req.headers['x-said']), variable: hex(process.env.SAID) };
  return res.json(said, 200, { 'x-said': req.headers['x-said'] ?? '' });
};
"""
PYTHON = """
import os

def main(context):
    said = context.req.headers.get("x-said", "")
    received = {"body": context.req.body_text, "header": said, "variable": os.environ.get("SAID", "")}
    return context.res.json({k: v.encode().hex() for k, v in received.items()}, 200, {"x-said": said})
"""


class Wire:
    """Connections to one API process."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.address = (parts.hostname or "", parts.port or 0)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=60)

    def say(self, sent: bytes) -> tuple[list[int], bool]:
        """Send bytes, and return the statuses of the answers and True if the server ended the connection in time."""
        heard = b""
        with self.connect() as wire:
            try:
                wire.sendall(sent)
                while piece := wire.recv(65536):
                    heard += piece
            except TimeoutError:
                return _statuses(heard), False
            except ConnectionError:
                return _statuses(heard), True
        return _statuses(heard), True


def _statuses(heard: bytes) -> list[int]:
    """Return the statuses of answers; an answer may begin directly behind the body of the previous one."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", heard) if code != b"100"]
