"""The query grammar of lists (http-api.md 5): from JSON texts to one page of one read model."""
