"""Every operation that the edge serves."""

from annals.app.account.routes import ROUTES as ACCOUNT
from annals.app.analytics.routes import ROUTES as ANALYTICS
from annals.app.catalogue.routes import ROUTES as CATALOGUE
from annals.app.checkpoints.routes import ROUTES as CHECKPOINTS
from annals.app.console.routes import ROUTES as CONSOLE
from annals.app.dead_letters.routes import ROUTES as DEAD_LETTERS
from annals.app.deployments.routes import ROUTES as DEPLOYMENTS
from annals.app.edge.routing import Routes
from annals.app.executions.attempts import ROUTES as ATTEMPTS
from annals.app.executions.routes import ROUTES as EXECUTIONS
from annals.app.functions.routes import ROUTES as FUNCTIONS
from annals.app.health.routes import ROUTES as HEALTH
from annals.app.history.routes import ROUTES as HISTORY
from annals.app.installations.routes import ROUTES as INSTALLATIONS
from annals.app.openapi.routes import routes as openapi_routes
from annals.app.policy.routes import ROUTES as POLICY
from annals.app.projects.routes import ROUTES as PROJECTS
from annals.app.projects.variables import ROUTES as PROJECT_VARIABLES
from annals.app.proxy.routes import ROUTES as PROXY
from annals.app.revert.routes import ROUTES as UNDO
from annals.app.teams.routes import ROUTES as TEAMS
from annals.app.usage.routes import ROUTES as USAGE
from annals.app.users.routes import ROUTES as USERS
from annals.app.variables.routes import ROUTES as VARIABLES

_API = (
    *(*CATALOGUE, *FUNCTIONS, *DEPLOYMENTS, *EXECUTIONS, *USAGE, *ANALYTICS, *VARIABLES, *PROXY, *HEALTH),
    *(*USERS, *ACCOUNT, *TEAMS, *PROJECTS, *PROJECT_VARIABLES, *CONSOLE),
    *(*CHECKPOINTS, *HISTORY, *UNDO, *INSTALLATIONS, *POLICY, *DEAD_LETTERS, *ATTEMPTS),
)

ROUTES = Routes((*_API, *openapi_routes(_API)))
