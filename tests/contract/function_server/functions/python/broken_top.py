raise RuntimeError("top level broke")
