"""The command line: one module per command, listed in ``main.COMMANDS``. Nothing else imports it."""
