"""What each vendor wants and answers. Pure: no sockets, no threads, no clocks; see ``base``."""
