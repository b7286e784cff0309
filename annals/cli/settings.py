"""`annals settings`: every setting with its sentence, unit, default and value; also the page in the docs."""

import click

from annals.cli.options import answer, chosen, json_option
from annals.settings import Described, as_text, described
from annals.store.postgres.conninfo import without_secrets

HEAD = """\
# Settings

Every process reads its settings from environment variables, and from a `.env` file in its working folder, which the
environment overrules. A name that is not listed here is refused. A value may be in a file that the name with `_FILE`
names, as `ANNALS_DATABASE_URL_FILE`, so that secrets are in no environment. `annals settings --markdown` makes this
page.

| name | default | unit | what it says |
|---|---|---|---|
"""
SECRET = frozenset({"database_url", "redis_url"})
"""Values that may hold a password."""


@click.command()
@click.option("--markdown", is_flag=True, help="Print the page of the documentation.")
@json_option
def settings(markdown: bool, as_json: bool) -> None:
    """Show every setting, its default and its value."""
    if markdown:
        click.echo(page(), nl=False)
        return
    now = chosen()
    rows = [
        {
            "name": one.name,
            "value": _hidden(one, as_text(getattr(now, one.field))),
            "default": one.default,
            "unit": one.unit,
            "sentence": one.sentence,
        }
        for one in described()
    ]
    answer({"settings": rows}, as_json, lambda: "\n".join(_lines(row) for row in rows))


def page() -> str:
    """The page `docs/settings.md`."""
    return HEAD + "".join(_row(one) for one in described())


def _row(one: Described) -> str:
    default = f"`{one.default}`" if one.default else ""
    unit = " \\| ".join(f"`{choice}`" for choice in one.choices) or one.unit
    return f"| `{one.name}` | {default} | {unit} | {one.sentence} |\n"


def _hidden(one: Described, value: str) -> str:
    if one.field == "database_url" and value:
        return without_secrets(value)
    if one.field in SECRET and "@" in value and ":" in value.split("@", 1)[0].rpartition("//")[2]:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://…@{rest.rpartition('@')[2]}"
    return value


def _lines(row: dict[str, str]) -> str:
    marked = "" if row["value"] == row["default"] else "   (set)"
    unit = f" [{row['unit']}]" if row["unit"] else ""
    return f"{row['name']}={row['value']}{marked}\n    {row['sentence']}{unit}"
