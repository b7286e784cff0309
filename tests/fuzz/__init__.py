"""`make fuzz`: random input, valid and broken, against an instance of its own, by schema and by raw bytes."""
