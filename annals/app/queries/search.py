"""The `search` parameter: words joined by or, quoted ones as a phrase, whatever their case."""

import re

from annals.app.queries.statements import Sql

_TERM = re.compile(r'"([^"]*)"|([^"\s]+)')
_SEPARATORS = r"[\s!-/:-@\[-^`{-~]+"
"""What parts words: white space and ASCII punctuation but the underscore; the same to Python and Postgres."""


def search(text: str, columns: str) -> Sql:
    """A condition on the words of `columns`, an SQL text expression. Words that are none match nothing."""
    phrases: list[str] = []
    for quoted, word in _TERM.findall(text.lower()):
        words = [part for part in re.split(_SEPARATORS, quoted or word) if part]
        phrases += [" ".join(words)] if quoted else words
    wanted = [f" {phrase} " for phrase in dict.fromkeys(phrases) if phrase.strip()]
    if not wanted:
        return Sql("false")
    words_of = f"' ' || regexp_replace(lower({columns}), '{_SEPARATORS}', ' ', 'g') || ' '"
    return Sql(f"EXISTS (SELECT FROM unnest(%s::text[]) AS wanted WHERE strpos({words_of}, wanted) > 0)", (wanted,))
