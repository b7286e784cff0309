"""Proof that a project owns a domain: a TXT record whose value only the project knows."""

import hashlib
import hmac

from annals.app.edge.call import Call
from annals.app.proxy.dns import LONGEST_NAME, Unresolved
from annals.domain.errors import RuleVerificationFailed

LABEL = "_annals-challenge"
PURPOSE = "domain-proof"
"""The purpose of the secret that proves domains: `vault.derive(project, PURPOSE)`."""


async def require_proof(call: Call, domain: str) -> None:
    """Raise RuleVerificationFailed if the instance requires a proof for the domain and finds none.

    Names below the instance's own functions domain need no proof.
    """
    settings = call.services.settings
    if settings.domain_verification == "none" or domain.endswith(f".{settings.functions_domain}"):
        return
    name, value = f"{LABEL}.{domain}", await _value(call, domain)
    if len(name) > LONGEST_NAME:
        raise RuleVerificationFailed(f"The domain is too long to be verified: {name} is not a valid DNS name.")
    wanted = f'Add the TXT record {name} with the value "{value}" and create the rule again once it can be looked up.'
    try:
        found = await call.services.text_records.of(name)
    except Unresolved as error:
        raise RuleVerificationFailed(f"The domain could not be verified: {error} {wanted}") from None
    if value not in found:
        raise RuleVerificationFailed(f"The domain is not verified yet. {wanted}")


async def _value(call: Call, domain: str) -> str:
    secret = await call.services.vault.derive(call.project_id, PURPOSE)
    return f"annals-verification={hmac.digest(secret, domain.encode(), hashlib.sha256).hex()}"
