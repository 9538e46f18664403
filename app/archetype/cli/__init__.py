"""The command line: noun, then verb.

Most commands go through the HTTP client, so they work the same against a server on this machine and one
elsewhere; `database` has what those share that work on the database itself, always or where they are told
to. A command says what it prints; `output` decides how, `exit_codes` how it ends, and `session` joins the
options that all of them share.
"""
