"""Other computers that run a bundle's artifacts: a phone that adb reaches, with the demo app on it."""
