"""A hook for schemathesis: an object where the document has an array is valid, since it counts as its values' list.

The contract says so for forms and query strings, and JSON bodies follow the same rules. The reference's documents
mention arrays only.
"""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Return False for a case whose body has an object where the document has an array."""
    if not isinstance(case.body, dict):
        return True
    content = case.operation.definition.raw.get("requestBody", {}).get("content", {})
    described: dict[str, Any] = next(iter(content.values())) if content else {}
    properties: dict[str, Any] = described.get("schema", {}).get("properties", {})
    return not any(
        isinstance(value, dict) and properties.get(name, {}).get("type") == "array" for name, value in case.body.items()
    )
