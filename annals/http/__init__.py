"""The HTTP server of the API and of the façade: uvicorn, with bounds on connections and on the heads of requests."""
