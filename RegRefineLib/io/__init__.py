"""Every file format; itk_lps.py alone knows LPS."""
