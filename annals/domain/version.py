"""The release of the reference API that Annals implements: part of every error, and APPWRITE_VERSION of functions."""

API_VERSION = "1.9.6"
