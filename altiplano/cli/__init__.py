"""The command line.

`main` holds the tree of commands and loads each when it is asked for, so that a short command
waits for no module that it does not use.  One module per noun; `failures` says which exit code
means what; `settings` where values come from.
"""
