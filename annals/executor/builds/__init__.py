"""Builds: from a source archive to an artefact in the blob store, within limits on time, disk and memory."""
