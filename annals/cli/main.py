"""`annals`: the commands. Each one is a module that is imported when it is used, so that help is fast."""

import importlib

import click

COMMANDS = {
    "up": ("annals.cli.up:up", "Run an instance here until Ctrl-C."),
    "env": ("annals.cli.env:env", "Print endpoint, project, key and data folder as shell variables."),
    "psql": ("annals.cli.psql:psql", "Open the instance's database with psql, read-only."),
    "ps": ("annals.cli.ps:ps", "Show the instance's processes and what they do."),
    "api": ("annals.cli.role_api:api", "Run one API process."),
    "listen": ("annals.cli.role_listen:listen", "Hold the listening socket of API processes."),
    "worker": ("annals.cli.role_worker:worker", "Run one worker process."),
    "keeper": ("annals.cli.role_worker:keeper", "Run one keeper process."),
    "executor": ("annals.cli.role_executor:executor", "Run this host's executor process."),
    "prepare": ("annals.cli.prepare:prepare", "Bring the database up to date and make the first project."),
    "projects": ("annals.cli.projects:projects", "Create, list and delete projects."),
    "keys": ("annals.cli.projects:keys", "Create, list and revoke a project's API keys."),
    "users": ("annals.cli.users:users", "Create, list and delete the admins of the instance."),
    "events": ("annals.cli.events:events", "Show the event log, or follow it."),
    "history": ("annals.cli.history:history", "Show what happened to one resource, and what each event changed."),
    "dead-letters": (
        "annals.cli.dead_letters:dead_letters",
        "List executions that were given up, and run them again.",
    ),
    "replay": ("annals.cli.replay:replay", "Rebuild read models from the log, or compare them with it."),
    "usage": ("annals.cli.usage:usage", "Show what was used, as small plots."),
    "verify": ("annals.cli.verify:verify", "Check the log against its seal and what was signed."),
    "export": ("annals.cli.export:export", "Write the log to a file that proves itself."),
    "import": ("annals.cli.load:import_", "Make an export the log of an empty instance."),
    "backup": ("annals.cli.export:backup", "Write log, contents and wrapped keys to one file."),
    "restore": ("annals.cli.load:restore", "Make a backup the log of an empty instance."),
    "schedules": ("annals.cli.load:schedules", "Say whether schedules are held back, or start them."),
    "proof": ("annals.cli.proof:proof", "Show signed checkpoints, and prove what they cover."),
    "import-appwrite": (
        "annals.cli.import_appwrite:import_appwrite",
        "Move functions in from a running Appwrite.",
    ),
    "doctor": ("annals.cli.doctor:doctor", "Check what this machine can do, and say how to get more."),
    "images": ("annals.cli.images:images", "Make the docker driver's images, and those of Annals itself."),
    "settings": ("annals.cli.settings:settings", "Show every setting, its default and its value."),
    "demo": ("annals.cli.demo:demo", "Run a demonstration with two functions on a running instance."),
    "version": ("annals.cli.version:version", "Say which version this is."),
}
"""The function of each command, and its line in the help."""


class Commands(click.Group):
    """A click group that imports a command when it is used."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="annals", message="annals %(version)s")
def main() -> None:
    """Annals: an event-sourced serverless control plane that stock Appwrite SDKs speak."""


if __name__ == "__main__":
    main()
