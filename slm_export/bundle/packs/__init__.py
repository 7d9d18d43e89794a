"""Packs: a bundle in the form that an app's build takes, made without exporting again."""
