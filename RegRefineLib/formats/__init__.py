"""Every file format; lps.py alone knows LPS."""
