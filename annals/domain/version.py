"""The release of the reference API that Annals speaks: in every error, and told to functions as APPWRITE_VERSION."""

API_VERSION = "1.9.6"
