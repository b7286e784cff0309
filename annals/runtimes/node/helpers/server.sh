#!/usr/bin/env bash
# Serves the function; relative file access of user code starts at the server's root.
cd -- "${BASH_SOURCE[0]%/*}/.." && exec node src/server.cjs
