"""Welcomes new users: runs when one is created, and writes them a mail."""

import os
import string
from email.message import EmailMessage
from email.utils import formataddr, parseaddr

from .senders import SENDERS, Failed

SUBJECT = "Welcome, $name"
TEXT = "Hello $name,\n\nyour account is ready. Sign in with $email.\n"


def main(context):
    user = context.req.body
    if not isinstance(user, dict) or not isinstance(user.get("email"), str):
        context.error("The body is no user. This function runs on users.*.create.")
        return context.res.json({"sent": False, "error": "no user"}, 400)
    address = parseaddr(user["email"])[1]
    if "@" not in address:
        context.log("The user has no address to write to.")
        return context.res.json({"sent": False})

    sender = SENDERS.get(os.environ.get("MAIL_SENDER", "log"))
    if sender is None:
        context.error(f"MAIL_SENDER is one of {', '.join(SENDERS)}.")
        return context.res.json({"sent": False, "error": "not set up"}, 500)
    try:
        sender(written(user.get("name") or address.partition("@")[0], address), context.log)
    except Failed as reason:
        context.error(str(reason))
        return context.res.json({"sent": False, "error": "not sent"}, 502)
    return context.res.json({"sent": True})


def written(name, address):
    """The mail; line breaks in a name become spaces, so that nobody writes headers of their own."""
    name = " ".join(str(name).split())[:128]
    values = {"name": name, "email": address}
    message = EmailMessage()
    message["from"] = os.environ.get("MAIL_FROM", "no-reply@localhost")
    message["to"] = formataddr((name, address))
    message["subject"] = string.Template(os.environ.get("MAIL_SUBJECT", SUBJECT)).safe_substitute(values)
    message.set_content(string.Template(os.environ.get("MAIL_TEXT", TEXT)).safe_substitute(values))
    return message
