"""Running instances of functions: started, kept warm, called, ended."""
