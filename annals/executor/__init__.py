"""The executor runs functions and builds on a host. All its packages use `config`, `errors` and `toolchains`."""
