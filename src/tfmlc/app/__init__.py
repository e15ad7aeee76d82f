"""The page in the browser: photos and videos are deblurred on this machine, and each visitor has a private folder."""
