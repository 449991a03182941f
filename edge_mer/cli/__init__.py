"""The command line: commands, their options and the checks of ``doctor``. Nothing else imports it."""
