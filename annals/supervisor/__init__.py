"""Starts the processes of an instance, watches them and ends them: embedded services and roles."""
