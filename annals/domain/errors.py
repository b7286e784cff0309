"""Typed API errors. Each has its wire `type` and a message that says what to do; only the edge knows HTTP codes."""

from typing import ClassVar


class DomainError(Exception):
    """A command was rejected; nothing was recorded."""

    type: ClassVar[str] = "general_unknown"
    default: ClassVar[str] = "The request was refused."

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """`hint` adds to a message that the contract fixes."""
        super().__init__(message or self.default)
        self.hint = hint


class ArgumentInvalid(DomainError):
    type = "general_argument_invalid"
    default = "A parameter is missing or invalid."


class BadRequest(DomainError):
    type = "general_bad_request"
    default = "The request cannot be served as it is."


class ProjectNotFound(DomainError):
    type = "project_not_found"
    default = "Project with the requested ID could not be found. Check the X-Appwrite-Project header."


class ProjectAlreadyExists(DomainError):
    type = "project_already_exists"
    default = "Project with the requested ID already exists. Choose another ID."


class KeyNotFound(DomainError):
    type = "key_not_found"
    default = "Key with the requested ID could not be found."


class FunctionNotFound(DomainError):
    type = "function_not_found"
    default = "Function with the requested ID could not be found."


class FunctionAlreadyExists(DomainError):
    type = "function_already_exists"
    default = "Function with the requested ID already exists. Choose another ID, or unique() to have one made."


class FunctionRuntimeUnsupported(DomainError):
    type = "function_runtime_unsupported"
    default = "The requested runtime is not available on this instance. List the runtimes to see which are."


class FunctionEntrypointMissing(DomainError):
    type = "function_entrypoint_missing"
    default = "Entrypoint is missing. Set it on the function, or send it with the deployment."


class DeploymentNotFound(DomainError):
    type = "deployment_not_found"
    default = "Deployment with the requested ID could not be found."


class DeploymentContentsGone(DomainError):
    type = "deployment_contents_gone"
    default = "The contents of a deployment that is to answer again are no longer kept."


class BuildNotReady(DomainError):
    type = "build_not_ready"
    default = "The build of this deployment is not ready. Wait until its status is ready."

    @classmethod
    def of(cls, status: str) -> "BuildNotReady":
        """Return the error with the advice for a status."""
        return cls(_ENDED_BUILDS.get(status, cls.default))


_ENDED_BUILDS = {
    "failed": "The build of this deployment failed. Read its build log, and deploy again.",
    "canceled": "The build of this deployment was canceled. Deploy again.",
}


class BuildAlreadyCompleted(DomainError):
    type = "build_already_completed"
    default = "The build has already ended and can no longer be canceled."


class ExecutionNotFound(DomainError):
    type = "execution_not_found"
    default = "Execution with the requested ID could not be found."


class ExecutionAlreadyExists(DomainError):
    type = "execution_already_exists"
    default = "Execution with the requested ID already exists."


class ExecutionInProgress(DomainError):
    type = "execution_in_progress"
    default = "The execution is still in progress. Wait until it has ended, then delete it."


class ExecutionAlreadyEnded(DomainError):
    type = "execution_already_ended"
    default = "The execution has already ended."


class DeadLetterNotFound(DomainError):
    type = "dead_letter_not_found"
    default = "The function has no such dead letter. It may have been redriven or discarded."


class VariableNotFound(DomainError):
    type = "variable_not_found"
    default = "Variable with the requested ID could not be found."


class VariableAlreadyExists(DomainError):
    type = "variable_already_exists"
    default = "Variable with the same ID or key already exists. Choose another one, or update the existing variable."


class VariableCannotUnsetSecret(DomainError):
    type = "variable_cannot_unset_secret"
    default = "Secret variables cannot be made readable again. Delete the variable and create a new one."


class InstallationNotFound(DomainError):
    type = "installation_not_found"
    default = "Installation with the requested ID could not be found."


class InstallationAlreadyExists(DomainError):
    type = "installation_already_exists"
    default = "Installation with the requested ID already exists. Choose another ID, or unique() to have one made."


class ProviderRepositoryNotFound(DomainError):
    type = "provider_repository_not_found"
    default = "The installation's host has no such repository, or does not show it to the installation."


class PlatformNotFound(DomainError):
    type = "platform_not_found"
    default = "Platform with the requested ID could not be found."


class PlatformAlreadyExists(DomainError):
    type = "platform_already_exists"
    default = "Platform with the requested ID already exists. Choose another ID, or unique() to have one made."


class UserNotFound(DomainError):
    type = "user_not_found"
    default = "User with the requested ID could not be found."


class UserAlreadyExists(DomainError):
    type = "user_already_exists"
    default = "A user with the same ID, email or phone already exists in this project."


class SessionNotFound(DomainError):
    type = "user_session_not_found"
    default = "The session was not found. It may have ended."


class TeamNotFound(DomainError):
    type = "team_not_found"
    default = "Team with the requested ID could not be found."


class TeamAlreadyExists(DomainError):
    type = "team_already_exists"
    default = "Team with the requested ID already exists. Choose another ID, or unique() to have one made."


class MembershipNotFound(DomainError):
    type = "membership_not_found"
    default = "Membership with the requested ID could not be found."


class TeamInviteAlreadyExists(DomainError):
    type = "team_invite_already_exists"
    default = "The user is a member of this team already, or is invited to it."


class MembershipAlreadyConfirmed(DomainError):
    type = "membership_already_confirmed"
    default = "The membership is confirmed already."


class RuleVerificationFailed(DomainError):
    type = "rule_verification_failed"
    default = "The domain is not verified. Add its TXT record and create the rule again."


class RuleNotFound(DomainError):
    type = "rule_not_found"
    default = "Rule with the requested ID could not be found."


class RuleAlreadyExists(DomainError):
    type = "rule_already_exists"
    default = "Another rule has this domain already. Choose another domain, or delete that rule."


class UserUnauthorized(DomainError):
    type = "user_unauthorized"
    default = "The current caller is not authorized to perform the requested action."


class Conflict(DomainError):
    """Other writers changed the same resource during every attempt."""

    type = "general_conflict"
    default = "The resource is being changed by others right now. Try again."


class RateLimited(DomainError):
    """`retry_after` counts seconds; 0 sends no such header."""

    type = "general_rate_limit_exceeded"
    default = "Too many requests. Wait a little and try again."

    def __init__(self, message: str = "", *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(DomainError):
    """The process serves as many synchronous calls as it may."""

    type = "general_service_unavailable"
    default = "Too many executions are waited for right now. Try again in a moment."
    retry_after = 1


class Overloaded(DomainError):
    type: ClassVar[str] = "general_service_unavailable"
    default: ClassVar[str] = "The server is at its limit of concurrent requests. Try again shortly."
    retry_after = 1
