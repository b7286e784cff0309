"""Where the blobs of deployments lie: below what they are, their project and their deployment.

No two tries share a key, so that one that fails, or comes late, overwrites nothing.
"""

import secrets

from annals.store.ids import generate_id

SOURCES, ARTEFACTS, UPLOADS = "sources", "artefacts", "uploads"


def place(kind: str, project_id: str, deployment_id: str) -> str:
    """Below which a deployment's blobs of a kind lie."""
    return f"{kind}/{project_id}/{deployment_id}"


def source_key(project_id: str, deployment_id: str) -> str:
    """Where a source is to be kept."""
    return f"{place(SOURCES, project_id, deployment_id)}/{generate_id()}/code.tar.gz"


def artefact_key(project_id: str, deployment_id: str, epoch: int) -> str:
    """Where a build is to put its artefact."""
    return f"{place(ARTEFACTS, project_id, deployment_id)}/{epoch}-{secrets.token_hex(4)}/code.tar.gz"
