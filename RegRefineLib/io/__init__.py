"""Every file format; itk_lps.py has the signs of LPS."""
