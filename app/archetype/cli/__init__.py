"""The command line: noun, then verb.

Every command but `serve`, `db` and `sql` goes through the HTTP client, so it works the same against a
server on this machine and one elsewhere. A command says what it prints; `output` decides how, `exit_codes`
how it ends, and `session` joins the options that all of them share.
"""
