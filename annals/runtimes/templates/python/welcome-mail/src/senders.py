"""How mail leaves: chosen by MAIL_SENDER. A sender is a function from a message and a log to nothing; it raises Failed."""

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 20


class Failed(Exception):
    """The mail was not taken."""


def to_log(message, log):
    """Only shows the mail: for trying it out."""
    log(message.as_string())


def by_smtp(message, log):
    """A mail server, over TLS unless SMTP_TLS says `none`."""
    host, tls = os.environ.get("SMTP_HOST", ""), os.environ.get("SMTP_TLS", "starttls")
    port = int(os.environ.get("SMTP_PORT") or {"tls": 465, "starttls": 587}.get(tls, 25))
    if not host:
        raise Failed("SMTP_HOST is not set")
    try:
        if tls == "tls":
            server = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        with server:
            if tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if os.environ.get("SMTP_USERNAME"):
                server.login(os.environ["SMTP_USERNAME"], os.environ.get("SMTP_PASSWORD", ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        raise Failed(f"{host} did not take it: {error}") from error
    log(f"{host} took it")


def by_http(message, log):
    """A provider's API that takes JSON with from, to, subject and text."""
    url, token = os.environ.get("MAIL_API_URL", ""), os.environ.get("MAIL_API_TOKEN", "")
    if not url.startswith(("https://", "http://")):
        raise Failed("MAIL_API_URL is not set")
    body = {name: message[name] for name in ("from", "to", "subject")}
    body["text"] = message.get_content()
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            log(f"The API answered {answer.status}")
    except OSError as error:
        raise Failed(f"the API did not take it: {error}") from error


SENDERS = {"log": to_log, "smtp": by_smtp, "http": by_http}
