"""The pool of function instances: starts, keeps, calls and ends them; also the call queue and the code cache."""
