"""What schemathesis must not take for a fault: an object in the place of a list counts as the list of its values.

The contract says so for forms and query strings, and JSON bodies are read by the same rules; the reference's documents
name arrays alone.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """False for a case whose body has an object where the document has an array."""
    if not isinstance(case.body, dict):
        return True
    content = case.operation.definition.raw.get("requestBody", {}).get("content", {})
    described: dict[str, Any] = next(iter(content.values())) if content else {}
    properties: dict[str, Any] = described.get("schema", {}).get("properties", {})
    return not any(
        isinstance(value, dict) and properties.get(name, {}).get("type") == "array" for name, value in case.body.items()
    )
