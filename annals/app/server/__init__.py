"""The HTTP server of an API process: uvicorn, with bounds on heads and connections."""
