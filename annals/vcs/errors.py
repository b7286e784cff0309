"""The error of a fetch."""

from typing import Literal

Kind = Literal["unreachable", "repository", "reference", "folder", "forbidden", "too_large", "failed"]
"""The part that failed: the connection, the repository, the reference, the folder, permission, size, or Annals."""


class RepositoryError(Exception):
    """`sentence` is shown to the client; it holds no credential and no path of this machine."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind: Kind = kind
        self.sentence = sentence
