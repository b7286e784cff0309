"""All routes of the API: the controllers, the page at `/docs`, and the exception handlers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from litestar import Litestar

from annals.app.account.routes import AccountController
from annals.app.catalogue.routes import CatalogueController
from annals.app.checkpoints.routes import CheckpointController
from annals.app.console.routes import ConsoleController
from annals.app.dead_letters.routes import DeadLetterController
from annals.app.deployments.pushes import PushController
from annals.app.deployments.routes import DeploymentController
from annals.app.edge.declared import DEFAULTS
from annals.app.edge.failures import EXCEPTION_HANDLERS
from annals.app.executions.attempts import AttemptController
from annals.app.executions.routes import ExecutionController
from annals.app.functions.routes import FunctionController
from annals.app.health.routes import HealthController
from annals.app.history.routes import HistoryController
from annals.app.installations.routes import InstallationController
from annals.app.openapi.routes import OpenApiController, assets, openapi_config
from annals.app.policy.routes import PolicyController
from annals.app.projects.routes import OwnProjectController, ProjectController
from annals.app.proxy.routes import RuleController
from annals.app.revert.routes import RevertController
from annals.app.teams.routes import TeamController
from annals.app.usage.routes import AnalyticsController, UsageController
from annals.app.users.routes import UserController
from annals.app.variables.routes import ProjectVariableController, VariableController

CONTROLLERS = [
    AccountController,
    AnalyticsController,
    AttemptController,
    CatalogueController,
    CheckpointController,
    ConsoleController,
    DeadLetterController,
    DeploymentController,
    ExecutionController,
    FunctionController,
    HealthController,
    HistoryController,
    InstallationController,
    OpenApiController,
    OwnProjectController,
    PolicyController,
    ProjectController,
    ProjectVariableController,
    PushController,
    RevertController,
    RuleController,
    TeamController,
    UsageController,
    UserController,
    VariableController,
]
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


def routes(lifespan: Sequence[Lifespan] = ()) -> Litestar:
    """Return the application that routes requests of the edge. Each request's scope holds its call."""
    return Litestar(
        [*CONTROLLERS, assets()],
        opt=DEFAULTS,
        lifespan=list(lifespan),
        openapi_config=openapi_config(),
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        debug=False,
    )
