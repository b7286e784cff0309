"""The `search` parameter: words joined by or. Quoted words are a phrase, and case does not matter."""

import re

from annals.app.queries.statements import Sql

_TERM = re.compile(r'"([^"]*)"|([^"\s]+)')
_SEPARATORS = r"[\s!-/:-@\[-^`{-~]+"
"""The separators of words: white space and ASCII punctuation except the underscore, the same in Python and in Postgres.
"""


def search(text: str, columns: str) -> Sql:
    """Return a condition on the words of `columns`, an SQL text expression. A text without words matches nothing."""
    phrases: list[str] = []
    for quoted, word in _TERM.findall(text.lower()):
        words = [part for part in re.split(_SEPARATORS, quoted or word) if part]
        phrases += [" ".join(words)] if quoted else words
    wanted = [f" {phrase} " for phrase in dict.fromkeys(phrases) if phrase.strip()]
    if not wanted:
        return Sql("false")
    words_of = f"' ' || regexp_replace(lower({columns}), '{_SEPARATORS}', ' ', 'g') || ' '"
    return Sql(f"EXISTS (SELECT FROM unnest(%s::text[]) AS wanted WHERE strpos({words_of}, wanted) > 0)", (wanted,))
