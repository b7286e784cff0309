"""How a function's calls are run: a sub-resource that stock clients never see."""
