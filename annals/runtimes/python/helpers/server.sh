#!/usr/bin/env bash
# Serves the function; relative file access of user code starts at src.
cd -- "${BASH_SOURCE[0]%/*}/../src" && exec python3 server.py
