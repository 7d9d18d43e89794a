from slm_export.cli import entry

entry()
