"""A hook of the docs site (mkdocs.yml): lists every decision record in the navigation."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the decision records, in the order of their numbers."""
    docs = Path(config.docs_dir)
    records = [path.relative_to(docs).as_posix() for path in sorted((docs / "adr").glob("*.md"))]
    config.nav = [*(config.nav or []), {"Decisions": records}]
    return config
