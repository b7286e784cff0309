"""Summary and description of every operation below /v1, for the OpenAPI documents and the reference.

One file because it is one table: a test checks that it holds each operation of the router and no other.
"""

from typing import NamedTuple


class OperationText(NamedTuple):
    summary: str
    description: str


_FUNCTION = "/v1/functions/{functionId}"
_DEPLOYMENT = f"{_FUNCTION}/deployments/{{deploymentId}}"
_EXECUTION = f"{_FUNCTION}/executions/{{executionId}}"
_LETTERS = f"{_FUNCTION}/dead-letters"
_PROJECT = "/v1/projects/{projectId}"
_TEAM = "/v1/teams/{teamId}"
_USER = "/v1/users/{userId}"
_INSTALLATION = "/v1/vcs/installations/{installationId}"

_TOKEN = "The token is a JWT that acts as the user until it expires, at most an hour later."  # noqa: S105 (a sentence)
_HISTORY = (
    "Lists the events that changed it, each with actor, cause and the fields that differ. Secret values are shown as"
    " fingerprints."
)
_SWITCH = "While it is off, clients are refused; API keys and admins are served."

_TEXTS: dict[str, tuple[str, str]] = {
    "GET /v1/account": ("Get the account", "Returns the user of the session or JWT."),
    "POST /v1/account": (
        "Create an account",
        "Registers a user by email and password. Guests of the project may do so.",
    ),
    "POST /v1/account/jwt": (
        "Create a JWT of the account",
        f"Works like POST /account/jwts, for clients of 1.8. {_TOKEN}",
    ),
    "POST /v1/account/jwts": ("Create a JWT of the account", _TOKEN),
    "DELETE /v1/account/sessions": ("Close all sessions", "Signs the account out everywhere."),
    "GET /v1/account/sessions": ("List sessions of the account", "Returns every open session, without its secret."),
    "POST /v1/account/sessions/email": (
        "Sign in by email and password",
        "Opens a session and sets its cookie. Repeated failures are slowed down by account and by address.",
    ),
    "DELETE /v1/account/sessions/{sessionId}": ("Close a session", "Ends one session; `current` is the caller's own."),
    "GET /v1/account/sessions/{sessionId}": ("Get a session", "Returns one session; `current` is the caller's own."),
    "GET /v1/checkpoints": ("List checkpoints", "Returns the signed checkpoints of the log, which prove its contents."),
    "GET /v1/checkpoints/consistency": (
        "Prove that one checkpoint extends another",
        "Returns the hashes that prove that the log between two checkpoints only grew.",
    ),
    "GET /v1/checkpoints/latest": ("Get the newest checkpoint", "Returns the checkpoint that was signed last."),
    "GET /v1/console/regions": ("List regions", "Returns the region of this instance, in the console's shape."),
    "GET /v1/console/variables": (
        "Get the console's variables",
        "Returns the settings of the instance that tools need, such as its functions domain.",
    ),
    "GET /v1/events": (
        "List or follow events",
        "Returns a page of the project's events after a position. With `Accept: text/event-stream` the answer goes on"
        " with each new event; `Last-Event-ID` resumes it.",
    ),
    "GET /v1/events/{position}": ("Get an event", "Returns the event at a position of the log."),
    "GET /v1/events/{position}/proof": (
        "Prove an event",
        "Returns the hashes that prove that a checkpoint covers the event.",
    ),
    "GET /v1/events/{position}/tree": ("Get the tree of an event", "Returns the event with all events that it caused."),
    "GET /v1/functions": ("List functions", "Returns the project's functions, by queries and full-text search."),
    "POST /v1/functions": (
        "Create a function",
        "Creates a function with its runtime, entrypoint, build commands, limits and triggers. It runs once a"
        " deployment of it is active.",
    ),
    "GET /v1/functions/runtimes": (
        "List runtimes",
        "Returns the languages and versions that functions may name; with `available=true` those that this instance"
        " can build and run.",
    ),
    "GET /v1/functions/specifications": ("List sizes", "Returns the sizes of memory and processor that are offered."),
    "GET /v1/functions/templates": ("List templates", "Returns the templates that a function can begin with."),
    "GET /v1/functions/templates/{templateId}": (
        "Get a template",
        "Returns a template with its runtimes and variables.",
    ),
    "GET /v1/functions/usage": ("Get usage of all functions", "Returns counts and sums over a range, by interval."),
    f"DELETE {_FUNCTION}": (
        "Delete a function",
        "Deletes the function with its deployments, variables and schedules. Its events stay in the log.",
    ),
    f"GET {_FUNCTION}": ("Get a function", "Returns the function's configuration and its active deployment."),
    f"PUT {_FUNCTION}": (
        "Update a function",
        "Replaces the configuration: missing fields go back to their defaults, except runtime, entrypoint and sizes.",
    ),
    f"GET {_LETTERS}": ("List dead letters", "Returns executions whose attempts have all failed."),
    f"POST {_LETTERS}/redrive": (
        "Redrive dead letters",
        "Runs the matching dead letters again, oldest first, each as a new execution.",
    ),
    f"DELETE {_LETTERS}/{{executionId}}": ("Discard a dead letter", "Takes it off the list; the execution stays."),
    f"POST {_LETTERS}/{{executionId}}/redrive": (
        "Redrive a dead letter",
        "Runs it again with the same input, as a new execution with the present code and policy.",
    ),
    f"PATCH {_FUNCTION}/deployment": (
        "Activate a deployment",
        "Routes executions to a ready deployment, at once. An older one is a rollback.",
    ),
    f"GET {_FUNCTION}/deployments": ("List deployments", "Returns the function's deployments, by queries and search."),
    f"POST {_FUNCTION}/deployments": (
        "Upload a deployment",
        "Takes an archive of the source, whole or in chunks of at most 5 MiB, and builds it.",
    ),
    f"POST {_FUNCTION}/deployments/duplicate": (
        "Build a deployment's source again",
        "Makes a new deployment of the source of an existing one, with the function's present configuration.",
    ),
    f"POST {_FUNCTION}/deployments/template": ("Deploy a template", "Makes a deployment from a bundled template."),
    f"POST {_FUNCTION}/deployments/vcs": (
        "Deploy from a repository",
        "Fetches a branch, tag or commit of the repository that the function is connected to, and builds it.",
    ),
    f"DELETE {_DEPLOYMENT}": ("Delete a deployment", "Deletes source and build; the active one can be deleted too."),
    f"GET {_DEPLOYMENT}": ("Get a deployment", "Returns a deployment with its status, sizes and build log."),
    f"PATCH {_DEPLOYMENT}": ("Activate a deployment", f"Works like PATCH {_FUNCTION}/deployment, for older clients."),
    f"PATCH {_DEPLOYMENT}/build": ("Cancel a build", f"Works like PATCH {_DEPLOYMENT}/status, for older clients."),
    f"POST {_DEPLOYMENT}/build": ("Build again", "Works like POST …/deployments/duplicate, for older clients."),
    f"GET {_DEPLOYMENT}/build/download": ("Download a build", "Returns the artefact that executions run."),
    f"POST {_DEPLOYMENT}/builds/{{buildId}}": (
        "Build again",
        "Works like POST …/deployments/duplicate, for older clients.",
    ),
    f"GET {_DEPLOYMENT}/download": (
        "Download a deployment",
        "Returns the source archive, or with `type=output` the build. Ranges are supported.",
    ),
    f"POST {_DEPLOYMENT}/executions": (
        "Execute a deployment",
        "Executes a ready deployment, active or not. Parameters and answer are those of creating an execution.",
    ),
    f"GET {_DEPLOYMENT}/history": ("Get a deployment's history", _HISTORY),
    f"GET {_DEPLOYMENT}/logs": (
        "Read or follow a build log",
        "Returns the log as text. With `Accept: text/event-stream` the answer follows it while the build runs.",
    ),
    f"PATCH {_DEPLOYMENT}/status": ("Cancel a build", "Ends a build that waits or runs; its deployment is `canceled`."),
    f"GET {_FUNCTION}/diff": (
        "Compare two states of a function",
        "Returns the fields and variables that differ between two positions of the log or times.",
    ),
    f"GET {_FUNCTION}/executions": ("List executions", "Returns the function's executions, newest first, by queries."),
    f"POST {_FUNCTION}/executions": (
        "Create an execution",
        "Runs the active deployment and returns its answer, or with `async` accepts the call and runs it later. With"
        " `scheduledAt` it runs at that time.",
    ),
    f"DELETE {_EXECUTION}": ("Delete an execution", "Deletes the record of an execution that has ended."),
    f"GET {_EXECUTION}": ("Get an execution", "Returns an execution with its status, answer and logs."),
    f"GET {_EXECUTION}/attempts": ("List attempts", "Returns each attempt of an execution that was retried."),
    f"GET {_EXECUTION}/configuration": (
        "Get the configuration of an execution",
        "Returns the version, deployment and variables that it ran with, and the changes since.",
    ),
    f"GET {_EXECUTION}/history": ("Get an execution's history", _HISTORY),
    f"GET {_EXECUTION}/logs": (
        "Read or follow an execution's logs",
        "Returns all that the code wrote, beyond the record's 1,000,000 characters too. With `Accept:"
        " text/event-stream` the answer follows it while it runs.",
    ),
    f"GET {_EXECUTION}/logs/download": ("Download an execution's logs", "Returns all that the code wrote, as a file."),
    f"PATCH {_EXECUTION}/status": (
        "Cancel an execution",
        "Ends an execution that is scheduled, waiting or processing; its code is killed.",
    ),
    f"GET {_FUNCTION}/history": ("Get a function's history", _HISTORY),
    f"GET {_FUNCTION}/policy": ("Get a function's policy", "Returns scaling, retries and the shares of traffic."),
    f"PATCH {_FUNCTION}/policy": (
        "Change a function's policy",
        "Merges the sent fields; `null` resets a field to its default.",
    ),
    f"PUT {_FUNCTION}/policy": (
        "Replace a function's policy",
        "Replaces the whole policy: missing fields have their defaults.",
    ),
    f"POST {_FUNCTION}/revert": (
        "Revert a function",
        "Restores a former state as a new change. With `dryRun` it only returns the changes.",
    ),
    f"GET {_FUNCTION}/usage": ("Get a function's usage", "Returns counts and sums over a range, by interval."),
    f"GET {_FUNCTION}/variables": ("List variables", "Returns the function's variables; secret values are empty."),
    f"POST {_FUNCTION}/variables": (
        "Create a variable",
        "Adds a variable; the next execution has it. Values are sealed.",
    ),
    f"DELETE {_FUNCTION}/variables/{{variableId}}": ("Delete a variable", "The next execution does not have it."),
    f"GET {_FUNCTION}/variables/{{variableId}}": ("Get a variable", "Returns a variable; a secret value is empty."),
    f"PUT {_FUNCTION}/variables/{{variableId}}": (
        "Update a variable",
        "Changes key, value or secrecy. Secret is for good.",
    ),
    f"GET {_FUNCTION}/variables/{{variableId}}/history": ("Get a variable's history", _HISTORY),
    "GET /v1/health": ("Check the API", "Reads from the database and returns the time that took, in milliseconds."),
    "GET /v1/health/ready": (
        "Check whether the instance can work",
        "Returns 200 if the log can be written, followers move, and workers and an executor are there; else 503.",
    ),
    "GET /v1/health/version": ("Get the version", "Returns the API version that this instance speaks."),
    "GET /v1/limits": ("Get limits", "Returns the bounds of this instance, and how each host enforces them."),
    "GET /v1/project": ("Get the project", "Returns the project that the headers name."),
    "GET /v1/project/history": ("Get the project's history", _HISTORY),
    "POST /v1/project/keys/ephemeral": (
        "Create an ephemeral key",
        "Makes a key with some of the caller's scopes. It ends with its time or with the caller's credential.",
    ),
    "GET /v1/project/platforms": ("List platforms", "Returns the origins whose pages may call the project."),
    "POST /v1/project/platforms/web": ("Add a web platform", "Lets pages of a host name call the project."),
    "DELETE /v1/project/platforms/{platformId}": (
        "Delete a platform",
        "Pages of its host name are refused from now on.",
    ),
    "GET /v1/project/platforms/{platformId}": ("Get a platform", "Returns one platform."),
    "PATCH /v1/project/protocols/{protocolId}": ("Switch a protocol", _SWITCH),
    "PATCH /v1/project/services/{serviceId}": ("Switch a service", _SWITCH),
    "GET /v1/project/variables": (
        "List project variables",
        "Returns variables that every function of the project has.",
    ),
    "POST /v1/project/variables": ("Create a project variable", "Every function has it from its next execution on."),
    "DELETE /v1/project/variables/{variableId}": ("Delete a project variable", "The next executions do not have it."),
    "GET /v1/project/variables/{variableId}": ("Get a project variable", "Returns it; a secret value is empty."),
    "PUT /v1/project/variables/{variableId}": ("Update a project variable", "Changes key, value or secrecy."),
    "GET /v1/projects": ("List projects", "Returns the projects that the admin sees."),
    "POST /v1/projects": ("Create a project", "Creates a tenant with functions, users, keys and usage of its own."),
    f"DELETE {_PROJECT}": (
        "Delete a project",
        "Deletes the project with all its resources and the key of its secrets.",
    ),
    f"GET {_PROJECT}": ("Get a project", "Returns a project with its services and platforms."),
    f"PATCH {_PROJECT}": ("Rename a project", "Changes the name; the id stays."),
    f"PATCH {_PROJECT}/api": ("Switch an API", _SWITCH),
    f"GET {_PROJECT}/history": ("Get a project's history", _HISTORY),
    f"POST {_PROJECT}/jwts": (
        "Create a key for a local run",
        "Makes an ephemeral key of a project, for an admin's tools.",
    ),
    f"GET {_PROJECT}/keys": ("List keys", "Returns the project's API keys, without their secrets."),
    f"POST {_PROJECT}/keys": ("Create a key", "Makes an API key with scopes; its secret is in this answer alone."),
    f"DELETE {_PROJECT}/keys/{{keyId}}": (
        "Revoke a key",
        "The key is rejected from the next request on, and so are ephemeral keys made with it.",
    ),
    f"GET {_PROJECT}/keys/{{keyId}}": ("Get a key", "Returns a key, without its secret."),
    f"GET {_PROJECT}/platforms": ("List a project's platforms", "Returns the origins whose pages may call it."),
    f"POST {_PROJECT}/platforms": ("Add a platform to a project", "Lets pages of a host name call the project."),
    f"DELETE {_PROJECT}/platforms/{{platformId}}": (
        "Delete a project's platform",
        "Its pages are refused from now on.",
    ),
    f"GET {_PROJECT}/platforms/{{platformId}}": ("Get a project's platform", "Returns one platform."),
    f"PATCH {_PROJECT}/service": ("Switch a project's service", _SWITCH),
    "GET /v1/proxy/rules": ("List rules", "Returns the host names of the project's functions."),
    "POST /v1/proxy/rules/function": ("Create a rule for a function", "Maps a host name to a function."),
    "DELETE /v1/proxy/rules/{ruleId}": ("Delete a rule", "Its host name runs no function from now on."),
    "GET /v1/proxy/rules/{ruleId}": ("Get a rule", "Returns a rule with its domain and status."),
    "GET /v1/teams": ("List teams", "Returns the project's teams, or those of the user that calls."),
    "POST /v1/teams": ("Create a team", "Creates a team; a user that calls becomes its owner."),
    f"DELETE {_TEAM}": ("Delete a team", "Deletes the team with its memberships."),
    f"GET {_TEAM}": ("Get a team", "Returns a team with the number of its members."),
    f"PUT {_TEAM}": ("Rename a team", "Changes the name; the id stays."),
    f"GET {_TEAM}/history": ("Get a team's history", _HISTORY),
    f"GET {_TEAM}/memberships": ("List memberships", "Returns members and invited users of a team."),
    f"POST {_TEAM}/memberships": (
        "Add a member",
        "A key's or admin's member is in at once; a user added by an owner is invited and confirms.",
    ),
    f"DELETE {_TEAM}/memberships/{{membershipId}}": ("Remove a member", "Ends a membership or an invitation."),
    f"GET {_TEAM}/memberships/{{membershipId}}": ("Get a membership", "Returns a membership with its roles."),
    f"PATCH {_TEAM}/memberships/{{membershipId}}": ("Change a member's roles", "Replaces the roles of a membership."),
    f"PATCH {_TEAM}/memberships/{{membershipId}}/status": (
        "Accept an invitation",
        "Confirms the membership of the user that is signed in; no message with a secret is sent.",
    ),
    "GET /v1/usage": (
        "Analyse usage",
        "Returns measures over any range, grouped by up to three dimensions, with filters and a comparison.",
    ),
    "GET /v1/usage/executions": (
        "List the executions behind a figure",
        "Returns the executions that a figure of the usage counts.",
    ),
    "GET /v1/users": ("List users", "Returns the project's users, by queries and search."),
    "POST /v1/users": ("Create a user", "Creates a user with an email, a phone number or a password."),
    f"DELETE {_USER}": ("Delete a user", "Deletes the user with sessions and memberships."),
    f"GET {_USER}": ("Get a user", "Returns a user."),
    f"PATCH {_USER}/email": ("Change a user's email", "Changes the address; it counts as unverified then."),
    f"GET {_USER}/history": ("Get a user's history", _HISTORY),
    f"POST {_USER}/jwts": ("Create a user's JWT", _TOKEN),
    f"PUT {_USER}/labels": ("Replace a user's labels", "Labels are roles that functions' permissions can name."),
    f"PATCH {_USER}/name": ("Change a user's name", "Changes the name."),
    f"PATCH {_USER}/password": ("Change a user's password", "Sets a new password, kept as an argon2id hash."),
    f"PATCH {_USER}/phone": ("Change a user's phone number", "Changes the number; it counts as unverified then."),
    f"DELETE {_USER}/sessions": ("Close a user's sessions", "Signs the user out everywhere."),
    f"GET {_USER}/sessions": ("List a user's sessions", "Returns the open sessions, without their secrets."),
    f"POST {_USER}/sessions": ("Create a user's session", "Opens a session; its secret is in this answer alone."),
    f"DELETE {_USER}/sessions/{{sessionId}}": ("Close a user's session", "Ends one session."),
    f"PATCH {_USER}/status": ("Block or unblock a user", "A blocked user is refused from the next request on."),
    f"PATCH {_USER}/verification": ("Mark an email as verified", "Sets whether the address is verified."),
    f"PATCH {_USER}/verification/phone": ("Mark a phone number as verified", "Sets whether the number is verified."),
    "GET /v1/vcs/installations": ("List installations", "Returns connections to git hosts, without their credentials."),
    "POST /v1/vcs/installations": (
        "Connect a git host",
        "Stores the sealed credentials with which repositories are fetched.",
    ),
    f"DELETE {_INSTALLATION}": (
        "Disconnect a git host",
        "Its functions stay connected, but their code can no longer be fetched.",
    ),
    f"GET {_INSTALLATION}": ("Get an installation", "Returns a connection, without its credentials."),
    f"POST {_INSTALLATION}/pushes": (
        "Receive a push",
        "Called by the git host with a signature; deploys the functions whose branch and paths match.",
    ),
}

TEXTS: dict[tuple[str, str], OperationText] = {
    (method, path): OperationText(*texts) for key, texts in _TEXTS.items() for method, path in [key.split(" ", 1)]
}
"""The texts by method and path."""
