"""What all other parts of the package use: checks of arguments, files, progress, extras."""
