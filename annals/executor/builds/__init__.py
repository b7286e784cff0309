"""Builds: from a source archive to an artefact."""
