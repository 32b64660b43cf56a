"""pgdrill: would my database survive this, how long would users notice, would anyone be paged?"""

__version__ = "0.1.0"
