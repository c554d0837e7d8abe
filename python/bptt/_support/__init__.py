"""What every other part of the package may use: arguments, files, progress bars, extras."""
