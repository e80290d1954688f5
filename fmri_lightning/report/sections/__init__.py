"""The sections of the page between its head and its pictures, a file each; :mod:`.order` puts them in order."""
