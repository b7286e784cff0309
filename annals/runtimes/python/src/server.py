"""The process inside a sandbox or container that serves one Python function."""

from annals_runtime.main import main

if __name__ == "__main__":
    main()
