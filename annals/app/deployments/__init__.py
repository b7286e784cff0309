"""Deployments: uploads and their builds."""
