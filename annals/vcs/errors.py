"""Why something could not be had from a repository."""

from typing import Literal

Kind = Literal["unreachable", "repository", "reference", "folder", "forbidden", "too_large", "failed"]
"""What is wrong: the way there, the repository, the reference, the folder, the place itself, the size, or this side."""


class RepositoryError(Exception):
    """`sentence` is for whoever asked; it holds no credential and no path of this machine."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.kind: Kind = kind
        self.sentence = sentence
