"""What the commands end with, once for the keeper and everything else; 69, 77 and 78 as in sysexits(3)."""

BAD_RESULT = 1
USAGE = 2
NO_DAEMON = 69
NOT_PERMITTED = 77
REFUSED = 78
