"""The API described by itself: OpenAPI documents made from the route table, and pages to read and try them."""
