"""`make fuzz`: random valid and broken input by schema and by raw bytes, against a fresh instance."""
