"""Bytes that events name by digest: contents and blobs."""
