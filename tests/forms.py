"""Multipart forms as SDKs send them."""

from collections.abc import Mapping


def form(fields: Mapping[str, str | bytes], file: bytes | None, name: str) -> tuple[str, bytes]:
    """Return the content type and the bytes of a multipart form."""
    boundary = "----boundary7d82751e2bc0858"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n'.encode()
        + (value.encode() if isinstance(value, str) else value)
        + b"\r\n"
        for field, value in fields.items()
    ]
    if file is not None:
        head = (
            f'Content-Disposition: form-data; name="code"; filename="{name}"\r\nContent-Type: application/gzip\r\n\r\n'
        )
        parts.append(f"--{boundary}\r\n{head}".encode() + file + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()
